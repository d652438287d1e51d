// Package provisioning registers devices with the Azure IoT Hub Device Provisioning
// Service: a device that knows an id scope and has a secret finds its hub, where its
// identity is made.
//
//	key, err := provisioning.NewGroupKeyAttestation(groupKey)
//	…
//	cfg := &provisioning.Config{IDScope: "0ne00000001", RegistrationID: "sensor-1", Attestation: key}
//	client, err := device.NewClientFromProvisioning(cfg, nil)
//
// Such a client registers when it connects first, and again when its hub no longer
// knows it. [Register] is for programs that want to know the hub, and nothing else.
//
// Modules are not registered: they are made in the hub of their device, and know it
// by their connection string or by the environment of IoT Edge.
package provisioning

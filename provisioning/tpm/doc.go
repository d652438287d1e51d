// Package tpm keeps the key of a device in its Trusted Platform Module (TPM 2.0), for
// provisioning.NewTPMAttestation:
//
//	t, err := tpm.Open("", nil)
//	…
//	cfg := &provisioning.Config{IDScope: "0ne00000001", RegistrationID: "sensor-1",
//		Attestation: provisioning.NewTPMAttestation(t)}
//	assignment, err := provisioning.Register(ctx, cfg)
//
// The device is enrolled with its endorsement key, which EndorsementKey returns. What the
// service sends can be opened by this TPM alone, and the key in it never leaves the TPM:
// it signs the tokens of the device there.
//
// Keys are where the C SDK has them: the endorsement key at the persistent handle
// 0x81010001 and the storage root key at 0x81000001, which are made from the templates of
// the TCG where there are none, and what the service sent at 0x81000100. So a device may
// change from the C SDK to this one, and need not be enrolled again.
//
// It is a package of its own so that only programs that import it are linked with
// github.com/google/go-tpm.
package tpm

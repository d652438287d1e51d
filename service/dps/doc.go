// Package dps is the back end's side of the IoT Hub Device Provisioning Service:
// who may register, how they prove themselves, which hub they are assigned to, and
// what has become of those that registered.
//
//	client, err := dps.NewClientFromConnectionString(connectionString, nil)
//	…
//	group, err := client.CreateEnrollmentGroup(ctx, &dps.EnrollmentGroup{EnrollmentGroupID: "line-1"})
//	keys, err := client.GetEnrollmentGroupAttestation(ctx, "line-1")
//	for r, err := range client.QueryRegistrations(ctx, "line-1", nil) { … }
//
// Options, ETags, tokens and queries are those of package service, of which this
// is the sister; so are errors and what is sent again. The types are named as in
// the REST API of the service, version 2021-10-01.
//
// Certificates of authorities are not part of that API in Azure, which keeps them
// in Azure Resource Manager (az iot dps certificate). The methods for them are for
// the service of package hub, whose REST API has them in the form of Resource
// Manager; Azure refuses them with iothub.KindNotFound. Enrollments that name
// such a certificate ([CAReferences]) are for both.
package dps

// Package hardware tests devices whose keys are in hardware, on stand-ins that are
// software: a TPM (swtpm) and a PKCS#11 token (SoftHSM). It is a module of its own, because
// PKCS#11 needs cgo, and because go test ./... is to work on a machine with nothing but Go:
//
//	apt-get install swtpm softhsm2
//	cd hardware && go test ./...
package hardware

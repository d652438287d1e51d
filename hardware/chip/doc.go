// Package chip tests provisioning/tpm command by command, with a TPM in software.
package chip

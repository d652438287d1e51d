package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/iothub-go/iothub/service"
	"github.com/iothub-go/iothub/service/dps"
)

// readCertificate reads the first certificate of a file, PEM or DER.
func readCertificate(file string) (*x509.Certificate, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(data); block != nil {
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("%s begins with a %s, not with a certificate", file, block.Type)
		}
		data = block.Bytes
	}
	cert, err := x509.ParseCertificate(data)
	if err != nil {
		return nil, fmt.Errorf("%s holds no certificate, PEM or DER: %w", file, err)
	}
	return cert, nil
}

// etagFlag adds the condition of a deletion.
func etagFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("etag", string(service.AnyETag), "only when this is its version")
}

func certificateResult(r *dps.CertificateResponse) *result {
	p := r.Properties
	rows := [][]string{{"certificate", r.Name}, {"subject", p.Subject}, {"expires", when(p.Expiry)}, {"thumbprint", p.Thumbprint},
		{"verified", yesNo(p.IsVerified)}, {"etag", string(r.ETag)}}
	if p.VerificationCode != "" {
		rows = append(rows, []string{"verification code", p.VerificationCode})
	}
	return &result{json: r, rows: rows}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// certificateVerb is a command that gets a certificate.
func certificateVerb(cmd *cobra.Command, get func(ctx context.Context, c *dps.Client, args []string) (*dps.CertificateResponse, error)) *cobra.Command {
	return dpsCommand(cmd, func(ctx context.Context, c *dps.Client, args []string) (*result, error) {
		r, err := get(ctx, c, args)
		if err != nil {
			return nil, err
		}
		return certificateResult(r), nil
	})
}

func newCertificateCommand() *cobra.Command {
	list := dpsCommand(&cobra.Command{Use: "list", Short: "List certificates", Args: cobra.NoArgs},
		func(ctx context.Context, c *dps.Client, _ []string) (*result, error) {
			l, err := c.ListCertificates(ctx)
			if err != nil {
				return nil, err
			}
			r := &result{json: l, header: []string{"CERTIFICATE", "VERIFIED", "EXPIRES", "SUBJECT"}}
			for _, c := range l {
				r.rows = append(r.rows, []string{c.Name, yesNo(c.Properties.IsVerified), when(c.Properties.Expiry), c.Properties.Subject})
			}
			return r, nil
		})
	show := certificateVerb(&cobra.Command{Use: "show NAME", Short: "Show a certificate", Args: cobra.ExactArgs(1)},
		func(ctx context.Context, c *dps.Client, args []string) (*dps.CertificateResponse, error) {
			return c.GetCertificate(ctx, args[0])
		})
	create := &cobra.Command{Use: "create NAME FILE", Short: "Add the certificate of an authority", Args: cobra.ExactArgs(2)}
	verified := create.Flags().Bool("verified", false, "vouch for it: no proof is needed")
	certificateVerb(create, func(ctx context.Context, c *dps.Client, args []string) (*dps.CertificateResponse, error) {
		cert, err := readCertificate(args[1])
		if err != nil {
			return nil, err
		}
		return c.CreateCertificate(ctx, args[0], cert, *verified)
	})
	code := certificateVerb(&cobra.Command{Use: "code NAME", Short: "Begin the proof of possession: get a verification code", Args: cobra.ExactArgs(1),
		Long: `Begin the proof that you have the key of a certificate. Sign a certificate with that
key whose common name is the verification code, and give it to "verify".`,
		Example: `  iothub dps certificate create factory ca.pem
  iothub dps certificate code factory
  openssl req -new -newkey rsa:2048 -nodes -keyout proof.key -subj /CN=CODE |
    openssl x509 -req -CA ca.pem -CAkey ca.key -days 1 -out proof.pem
  iothub dps certificate verify factory proof.pem`},
		func(ctx context.Context, c *dps.Client, args []string) (*dps.CertificateResponse, error) {
			return c.GenerateVerificationCode(ctx, args[0], service.AnyETag)
		})
	verify := certificateVerb(&cobra.Command{Use: "verify NAME FILE", Short: "End the proof of possession with a certificate for the code", Args: cobra.ExactArgs(2)},
		func(ctx context.Context, c *dps.Client, args []string) (*dps.CertificateResponse, error) {
			proof, err := readCertificate(args[1])
			if err != nil {
				return nil, err
			}
			return c.VerifyCertificate(ctx, args[0], proof, service.AnyETag)
		})
	del := &cobra.Command{Use: "delete NAME", Short: "Delete a certificate that no enrollment refers to", Args: cobra.ExactArgs(1)}
	etag := etagFlag(del)
	dpsCommand(del, func(ctx context.Context, c *dps.Client, args []string) (*result, error) {
		return nil, c.DeleteCertificate(ctx, args[0], dps.ETag(*etag))
	})
	cmd := group("certificate", "Certificates of authorities, with proof of possession", list, show, create, code, verify, del)
	cmd.Long = `Certificates of authorities that enrollments refer to (--root-ca). These commands are
for a local hub: Azure has them in Azure Resource Manager (az iot dps certificate).`
	return cmd
}

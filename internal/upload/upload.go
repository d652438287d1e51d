// Package upload uploads files of devices and modules: it asks the hub for a place,
// puts the file there in blocks, and tells the hub what has become of it, all over
// HTTPS beside whatever transport the client has (IoT Hub file upload guide;
// wire-device E.4).
//
// The id of a block is made of its place and its content. So an upload that was
// interrupted, even one of a process that is gone, asks which blocks are there and
// sends the others.
package upload

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/iothub-go/iothub"
	"github.com/iothub-go/iothub/internal/devicerest"
	"github.com/iothub-go/iothub/internal/rest"
	"github.com/iothub-go/iothub/internal/transport"
)

const (
	op = "upload"
	// maxAnswer bounds what is read of the hub's answers.
	maxAnswer = 1 << 20
	// reportTime is how long there is to tell the hub of an upload that was
	// cancelled.
	reportTime = 5 * time.Second
)

// Begin asks the hub for a place for a file of that name.
func Begin(ctx context.Context, p *transport.Params, name string, port int) (*iothub.UploadTicket, error) {
	if name == "" {
		return nil, &iothub.Error{Op: op, Kind: iothub.KindInvalidArgument, Err: errors.New("the name of the file is empty")}
	}
	var answer struct{ CorrelationID, HostName, ContainerName, BlobName, SASToken string }
	err := retry(ctx, func() error {
		return post(ctx, p, "/files", port, map[string]any{"blobName": name}, &answer)
	})
	if err != nil {
		return nil, err
	}
	blob := strings.Split(answer.BlobName, "/")
	for i, part := range blob {
		blob[i] = url.PathEscape(part)
	}
	t := &iothub.UploadTicket{
		CorrelationID: answer.CorrelationID, BlobName: answer.BlobName,
		URL: "https://" + answer.HostName + "/" + url.PathEscape(answer.ContainerName) + "/" + strings.Join(blob, "/") + answer.SASToken,
	}
	if u, err := url.Parse(t.URL); err != nil || u.Host == "" || answer.CorrelationID == "" {
		return nil, &iothub.Error{Op: op, Kind: iothub.KindProtocol, Err: errors.New("the hub's answer names no place for the file")}
	}
	return t, nil
}

// End tells the hub that the upload is over: well, or with failed why not, with
// the HTTP status that an *iothub.Error in it has.
func End(ctx context.Context, p *transport.Params, t *iothub.UploadTicket, failed error, port int) error {
	if t == nil || t.CorrelationID == "" {
		return &iothub.Error{Op: op, Kind: iothub.KindInvalidArgument, Err: iothub.ErrNoUploadTicket}
	}
	report := map[string]any{"correlationId": t.CorrelationID, "isSuccess": failed == nil, "statusCode": 200, "statusDescription": "OK"}
	if failed != nil {
		report["statusCode"], report["statusDescription"] = 400, failed.Error()
		if e, ok := errors.AsType[*iothub.Error](failed); ok && e.Code >= 100 && e.Code < 600 {
			report["statusCode"] = e.Code
		}
	}
	return retry(ctx, func() error { return post(ctx, p, "/files/notifications", port, report, nil) })
}

// File uploads all that r has. When it fails, or ctx ends first, the hub is told,
// and what was sent waits where it is for another attempt with the same content.
func File(ctx context.Context, p *transport.Params, name string, r io.Reader, o *iothub.UploadOptions) error {
	var opts iothub.UploadOptions
	if o != nil {
		opts = *o
	}
	if err := opts.Validate(); err != nil {
		return err
	}
	if opts.BlockSize == 0 {
		opts.BlockSize = iothub.DefaultUploadBlock
	}
	t, err := Begin(ctx, p, name, opts.Port)
	if err != nil {
		return err
	}
	s, err := newStorage(t, p)
	if err == nil {
		err = s.put(ctx, r, &opts)
		s.close()
	}
	if err == nil {
		return End(ctx, p, t, nil, opts.Port)
	}
	// The place counts against the device until the hub hears of it.
	reporting, cancel := context.WithTimeout(context.WithoutCancel(ctx), reportTime)
	defer cancel()
	if e := End(reporting, p, t, err, opts.Port); e != nil && p.Options.Logger != nil {
		p.Options.Logger.Warn("the hub was not told that an upload has failed", "upload", t, "error", e)
	}
	return err
}

// post sends a request about files of the identity.
func post(ctx context.Context, p *transport.Params, path string, port int, body, answer any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	at := "/devices/" + url.PathEscape(p.Identity.DeviceID)
	if p.Identity.ModuleID != "" {
		at += "/modules/" + url.PathEscape(p.Identity.ModuleID)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://hub"+at+path+"?api-version="+devicerest.APIVersion, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	// Gateways offer no uploads: they go to the hub itself, as in the C SDK.
	resp, err := devicerest.Do(ctx, op, p, p.HostName, port, req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return &iothub.Error{Op: op, Kind: iothub.KindNetwork, Retryable: true, Err: err}
	}
	if resp.StatusCode/100 != 2 {
		return rest.Refused(op, resp, data)
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(data, answer); err != nil {
		return &iothub.Error{Op: op, Kind: iothub.KindProtocol, Err: fmt.Errorf("the hub's answer: %w", err)}
	}
	return nil
}

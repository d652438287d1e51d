package httpfront

import (
	"errors"
	"net/http"
	"strings"

	"github.com/iothub-go/iothub/hub/internal/core"
)

// maxBulkBody bounds the body of a bulk operation: a hundred identities with the
// largest twins there can be.
const maxBulkBody = 8 << 20

// bulkResult is the answer to a bulk operation, the same whether it is 200 or 400.
type bulkResult struct {
	IsSuccessful bool        `json:"isSuccessful"`
	Errors       []bulkError `json:"errors"`
	Warnings     []struct{}  `json:"warnings"`
}

type bulkError struct {
	DeviceID    string  `json:"deviceId"`
	ModuleID    *string `json:"moduleId"`
	ErrorCode   string  `json:"errorCode"`
	ErrorStatus string  `json:"errorStatus"`
	Operation   string  `json:"operation"`
}

// bulk is POST /devices. The identities are done one after the other; what goes
// wrong with one does not concern the next.
func bulk(q *request) error {
	var list []core.ImportIdentity
	if err := q.bodyUpTo(maxBulkBody, &list); err != nil {
		return err
	}
	if len(list) > core.MaxBulk {
		return core.NewError(core.CodeTooManyDevices, "the body names %d identities, the limit is %d", len(list), core.MaxBulk)
	}
	result := bulkResult{Errors: []bulkError{}, Warnings: []struct{}{}}
	for _, identity := range list {
		err := q.front.hub.Import(q.r.Context(), identity)
		if err == nil {
			continue
		}
		e, err := q.itemError(err)
		if err != nil {
			return err
		}
		result.Errors = append(result.Errors, bulkError{
			DeviceID: identity.ID, ModuleID: orNil(identity.ModuleID),
			ErrorCode: e.Name, ErrorStatus: e.Message, Operation: identity.ImportMode,
		})
	}
	if result.IsSuccessful = len(result.Errors) == 0; result.IsSuccessful {
		return q.reply("", result)
	}
	q.w.Header().Set("iothub-errorcode", "BulkRegistryOperationFailure")
	return q.replyStatus(http.StatusBadRequest, "", result)
}

// itemError tells an error of one item from one that ends the request.
func (q *request) itemError(err error) (*core.Error, error) {
	e, ok := errors.AsType[*core.Error](err)
	if !ok || q.r.Context().Err() != nil {
		return nil, err
	}
	return e, nil
}

func orNil(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// regenerateBody asks for new keys (B3.2).
type regenerateBody struct {
	PolicyKey string `json:"policyKey"`
	Devices   []struct {
		ID       string `json:"id"`
		ModuleID string `json:"moduleId"`
	} `json:"devices"`
}

type regenerateReply struct {
	PolicyKey   string            `json:"policyKey"`
	RotatedKeys []rotatedKeys     `json:"rotatedKeys"`
	Errors      []regenerateError `json:"errors"`
}

type rotatedKeys struct {
	ID       string  `json:"id"`
	ModuleID *string `json:"moduleId"`
	core.SymmetricKey
}

type regenerateError struct {
	ID          string  `json:"id"`
	ModuleID    *string `json:"moduleId"`
	ErrorCode   string  `json:"errorCode"`
	ErrorStatus string  `json:"errorStatus"`
}

// regenerateKeys is POST /devices/keys/regenerate: 200 when all was done, 207
// when some was, 400 when nothing was.
func regenerateKeys(q *request) error {
	var body regenerateBody
	if err := q.body(&body); err != nil {
		return err
	}
	which, ok := map[string]core.WhichKeys{
		"primarykey": {Primary: true}, "secondarykey": {Secondary: true}, "both": {Primary: true, Secondary: true},
	}[strings.ToLower(body.PolicyKey)]
	switch {
	case !ok:
		return core.NewError(core.CodeArgumentInvalid, "policyKey is %.40q, allowed are primaryKey, secondaryKey and both", body.PolicyKey)
	case len(body.Devices) == 0:
		return core.NewError(core.CodeArgumentNull, "devices is empty")
	case len(body.Devices) > core.MaxBulk:
		return core.NewError(core.CodeTooManyDevices, "devices has %d entries, the limit is %d", len(body.Devices), core.MaxBulk)
	}
	reply := regenerateReply{PolicyKey: body.PolicyKey, RotatedKeys: []rotatedKeys{}, Errors: []regenerateError{}}
	for _, d := range body.Devices {
		keys, err := q.front.hub.RegenerateKeys(q.r.Context(), d.ID, d.ModuleID, which)
		if err == nil {
			reply.RotatedKeys = append(reply.RotatedKeys, rotatedKeys{d.ID, orNil(d.ModuleID), keys})
			continue
		}
		e, err := q.itemError(err)
		if err != nil {
			return err
		}
		reply.Errors = append(reply.Errors, regenerateError{d.ID, orNil(d.ModuleID), e.Name, e.Message})
	}
	switch {
	case len(reply.RotatedKeys) == 0:
		return q.replyStatus(http.StatusBadRequest, "", reply)
	case len(reply.Errors) > 0:
		return q.replyStatus(http.StatusMultiStatus, "", reply)
	}
	return q.reply("", reply)
}

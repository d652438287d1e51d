package client

import (
	"errors"
	"fmt"
	"time"

	"github.com/iothub-go/iothub"
)

// ValueType is what the pointer that C gives for an option points to.
type ValueType uint8

// The types of options' values.
const (
	ValueNone   ValueType = iota // not looked at
	ValueString                  // char, up to a NUL
	ValueBool
	ValueInt    // int
	ValueUint   // unsigned int
	ValueSize   // size_t
	ValueMillis // uint64_t
	ValueProxy  // HTTP_PROXY_OPTIONS
)

// optionTypes has every option that does something here.
var optionTypes = map[string]ValueType{
	"messageTimeout":           ValueMillis,
	"do_work_freq_ms":          ValueMillis,
	"keepalive":                ValueInt,
	"connect_timeout":          ValueInt,
	"sas_token_lifetime":       ValueSize,
	"sas_token_refresh_time":   ValueSize,
	"retry_interval_sec":       ValueUint,
	"retry_max_delay_secs":     ValueUint,
	"product_info":             ValueString,
	"model_id":                 ValueString,
	"x509certificate":          ValueString,
	"x509privatekey":           ValueString,
	"TrustedCerts":             ValueString,
	"proxy_data":               ValueProxy,
	"logtrace":                 ValueBool,
	"rawlogtrace":              ValueBool,
	"auto_url_encode_decode":   ValueBool,
	"diag_sampling_percentage": ValueUint,

	// Accepted, and without a meaning: there is no libcurl whose chatter or
	// renegotiation they could allow, and TLS is 1.2 or better.
	"CURLOPT_VERBOSE":               ValueNone,
	"blob_upload_timeout_secs":      ValueNone,
	"blob_upload_tls_renegotiation": ValueNone,
	"tls_version":                   ValueNone,
	"tls_renegotiation":             ValueNone,
}

// OptionType returns what an option's value is, or false for one that MQTT does
// not know.
func OptionType(name string) (ValueType, bool) {
	t, ok := optionTypes[name]
	return t, ok
}

// SetOption sets an option: an unknown one, and a value out of range, is
// InvalidArg, except for the four that are Failed in the C SDK.
func (c *Client) SetOption(name string, value any) Result {
	err := c.call(false, func() error { return c.setOption(name, value) })
	if err == nil {
		return OK
	}
	c.host.Log(err)
	switch name {
	case "sas_token_lifetime", "sas_token_refresh_time", "model_id", "diag_sampling_percentage":
		return Failed
	}
	if errors.Is(err, iothub.ErrClosed) {
		return Failed
	}
	return InvalidArg
}

func (c *Client) setOption(name string, value any) error {
	if t, ok := optionTypes[name]; ok && t == ValueNone {
		return nil
	}
	switch name {
	case "auto_url_encode_decode":
		c.autoEncode, _ = value.(bool)
		return nil
	case "diag_sampling_percentage":
		percent, _ := value.(uint64)
		if percent > 100 {
			return fmt.Errorf("option %s is %d, it can be 0 to 100", name, percent)
		}
		c.sampling = sampling{percent: percent}
		return nil
	case "do_work_freq_ms":
		return c.setInterval(value)
	case "messageTimeout":
		return c.setTimeout(value)
	}
	return c.ll.SetOption(name, value)
}

// setInterval checks what the C SDK checks. The thread here sleeps until there
// is something to do, so the value changes nothing else.
func (c *Client) setInterval(value any) error {
	ms, _ := value.(uint64)
	d := time.Duration(min(ms, 1000)) * time.Millisecond
	switch {
	case !c.threaded:
		return errors.New("option do_work_freq_ms is for clients that have a thread")
	case ms < 1 || ms > 100:
		return fmt.Errorf("option do_work_freq_ms is %d, it can be 1 to 100", ms)
	case c.timeout > 0 && d >= c.timeout:
		return errors.New("option do_work_freq_ms must be less than messageTimeout")
	}
	c.interval = d
	return nil
}

func (c *Client) setTimeout(value any) error {
	ms, _ := value.(uint64)
	if c.threaded && ms > 0 && ms <= uint64(c.interval/time.Millisecond) {
		return errors.New("option messageTimeout must be more than do_work_freq_ms")
	}
	if err := c.ll.SetOption("messageTimeout", ms); err != nil {
		return err
	}
	c.timeout = time.Duration(min(ms, uint64(1<<62/time.Millisecond))) * time.Millisecond
	return nil
}

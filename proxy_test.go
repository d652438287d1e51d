package iothub_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/iothub-go/iothub"
)

func TestParseProxy(t *testing.T) {
	for in, want := range map[string]string{
		"http://proxy.example":                  "http://proxy.example:80",
		"https://proxy.example/":                "https://proxy.example:443",
		"socks5://proxy.example":                "socks5://proxy.example:1080",
		"socks5h://10.0.0.1:9":                  "socks5://10.0.0.1:9",
		"http://[::1]:3128":                     "http://[::1]:3128",
		"http://corp%5Cjane:p%40ss@p.example:1": `http://corp%5Cjane:p%40ss@p.example:1`,
		"http://jane@p.example":                 "http://jane@p.example:80",
	} {
		p, err := iothub.ParseProxy(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if got := p.URL().String(); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
		p.URL().Host = "changed"
		if strings.Contains(p.URL().Host, "changed") {
			t.Error("the proxy can be changed")
		}
	}
	for _, in := range []string{
		"", "proxy.example:3128", "ftp://sesame@p.example", "http://", "http://u:sesame@", "http://u:sesame@p.example:0", "http://u:sesame@p.example:65536",
		"http://u:sesame@p.example:x", "http://u:sesame@p.example/path", "http://u:sesame@p.example?q", "http://u:ses#ame@p.example", "http://u:ses%zzame@p.example",
		"socks5://:sesame@p.example", "socks5://u:" + strings.Repeat("sesame", 50) + "@p.example", "http://u:\x7fsesame@p.example",
	} {
		p, err := iothub.ParseProxy(in)
		if p != nil || iothub.KindOf(err) != iothub.KindInvalidArgument {
			t.Errorf("%q: %v, %v", in, p, err)
		}
		if s := fmt.Sprint(err); strings.Contains(s, "sesame") || strings.Contains(s, "ame@") {
			t.Errorf("the password is shown: %v", err)
		}
	}
}

func TestProxyKeepsItsPassword(t *testing.T) {
	p, err := iothub.ParseProxy("http://jane:sesame@p.example:1")
	if err != nil {
		t.Fatal(err)
	}
	o := iothub.ClientOptions{Proxy: p}
	j, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "proxy", p, "options", o)
	for _, s := range []string{fmt.Sprint(p), fmt.Sprintf("%v %+v %#v %q %s", p, p, p, p, p), fmt.Sprintf("%v %+v %#v", o, o, o), fmt.Sprintf("%+v %#v", *p, *p), string(j), log.String()} {
		if strings.Contains(s, "sesame") {
			t.Errorf("the password is shown: %s", s)
		}
	}
	if s := p.String(); s != "http://jane:xxxxx@p.example:1" {
		t.Error(s)
	}
	var none *iothub.Proxy
	if none.String() != "none" || none.URL() != nil || (&iothub.Proxy{}).URL() != nil {
		t.Error("no proxy has a URL")
	}
}

func TestProxyOption(t *testing.T) {
	p, err := iothub.ParseProxy("http://p.example")
	if err != nil {
		t.Fatal(err)
	}
	dial := func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no") }
	for want, o := range map[string]*iothub.ClientOptions{
		"":           {Proxy: p, Dial: dial},
		"ParseProxy": {Proxy: &iothub.Proxy{}},
		"DialTLS":    {Proxy: p, DialTLS: dial},
	} {
		_, err := o.WithDefaults()
		if (err == nil) != (want == "") || want != "" && !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

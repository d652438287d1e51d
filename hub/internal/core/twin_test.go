package core_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/iothub-go/iothub/hub/internal/core"
	"github.com/iothub-go/iothub/hub/internal/store/memory"
)

// report patches the reported properties and waits.
func report(a *core.Attachment, patch string) (version uint64, err error) {
	type result struct {
		version uint64
		err     error
	}
	done := make(chan result, 1)
	a.PatchReported([]byte(patch), func(version uint64, err error) { done <- result{version, err} })
	r := <-done
	return r.version, r.err
}

func mustReport(t testing.TB, a *core.Attachment, patch string) {
	t.Helper()
	if _, err := report(a, patch); err != nil {
		t.Fatalf("report %.100s: %v", patch, err)
	}
}

// readTwin reads the twin as the device sees it.
func readTwin(t testing.TB, a *core.Attachment) string {
	t.Helper()
	done := make(chan string, 1)
	a.ReadTwin(func(twin []byte, err error) {
		if err != nil {
			t.Errorf("read the twin: %v", err)
		}
		done <- string(twin)
	})
	return <-done
}

func update(t testing.TB, h *core.Hub, device, module, patch string) core.Twin {
	t.Helper()
	twin, err := h.UpdateTwin(t.Context(), device, module, []byte(patch), core.AnyETag)
	if err != nil {
		t.Fatalf("update %s: %v", patch, err)
	}
	return twin
}

func getTwin(t testing.TB, h *core.Hub, device, module string) core.Twin {
	t.Helper()
	twin, err := h.GetTwin(device, module)
	if err != nil {
		t.Fatal(err)
	}
	return twin
}

func wantJSON(t testing.TB, got any, want string) {
	t.Helper()
	data, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	var g, w any
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatalf("%v: %s", err, want)
	}
	if !reflect.DeepEqual(g, w) {
		t.Errorf("got  %s\nwant %s", data, want)
	}
}

// frozen is a hub whose clock stands still.
func frozen(t testing.TB) *core.Hub {
	at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { return at }
	return newHub(t, core.Config{Clock: clock}, memory.New(clock))
}

func TestFreshTwin(t *testing.T) {
	h := frozen(t)
	d := createDevice(t, h, core.Device{DeviceID: "d"})
	m := createModule(t, h, core.Module{DeviceID: "d", ModuleID: "m"})
	const properties = `{"desired":{"$metadata":{"$lastUpdated":"0001-01-01T00:00:00Z"},"$version":1},
		"reported":{"$metadata":{"$lastUpdated":"0001-01-01T00:00:00Z"},"$version":1}}`
	wantJSON(t, getTwin(t, h, "d", ""), `{"deviceId":"d","modelId":"","etag":"AAAAAAAAAAE=","deviceEtag":"`+d.ETag+`",
		"status":"enabled","statusUpdateTime":"0001-01-01T00:00:00Z","connectionState":"Disconnected",
		"lastActivityTime":"0001-01-01T00:00:00Z","cloudToDeviceMessageCount":0,"authenticationType":"sas",
		"x509Thumbprint":{"primaryThumbprint":null,"secondaryThumbprint":null},"version":2,"tags":{},
		"capabilities":{"iotEdge":false},"properties":`+properties+`}`)
	wantJSON(t, getTwin(t, h, "d", "m"), `{"deviceId":"d","moduleId":"m","modelId":"","etag":"AAAAAAAAAAE=","deviceEtag":"`+m.ETag+`",
		"status":"enabled","statusUpdateTime":"0001-01-01T00:00:00Z","connectionState":"Disconnected",
		"lastActivityTime":"0001-01-01T00:00:00Z","cloudToDeviceMessageCount":0,"authenticationType":"sas",
		"x509Thumbprint":{"primaryThumbprint":null,"secondaryThumbprint":null},"version":2,"tags":{},
		"properties":`+properties+`}`)
	a := attach(t, h, login(t, h, "d", "", d.Authentication), nil)
	defer a.Detach()
	if got := readTwin(t, a); got != `{"desired":{"$version":1},"reported":{"$version":1}}` {
		t.Errorf("the device sees %s", got)
	}
	if got := getTwin(t, h, "d", ""); got.ConnectionState != core.Connected || got.LastActivityTime.IsZero() {
		t.Errorf("connected: %+v", got)
	}
}

// The rules of versions, ETag and $metadata (B6).
func TestTwinMetadata(t *testing.T) {
	h := frozen(t)
	a := attachNew(t, h, "d")
	defer a.Detach()
	const now = `"$lastUpdated":"2026-01-31T12:00:00.0000000Z"`
	twin := update(t, h, "d", "", `{"tags":{"site":{"floor":1}},"properties":{"desired":{"a":{"b":1,"c":[1,{"x":2}]},"e":true}}}`)
	if twin.Version != 3 || twin.ETag != "AAAAAAAAAAI=" {
		t.Errorf("version %d, etag %s", twin.Version, twin.ETag)
	}
	wantJSON(t, twin.Tags, `{"site":{"floor":1}}`)
	const v2 = `{` + now + `,"$lastUpdatedVersion":2}`
	wantJSON(t, twin.Properties.Desired, `{"a":{"b":1,"c":[1,{"x":2}]},"e":true,"$version":2,
		"$metadata":{`+now+`,"$lastUpdatedVersion":2,"a":{`+now+`,"$lastUpdatedVersion":2,"b":`+v2+`,"c":`+v2+`},"e":`+v2+`}}`)

	// Null removes with its metadata; ancestors get the new stamp, siblings do not.
	twin = update(t, h, "d", "", `{"properties":{"desired":{"a":{"b":null,"f":{}}}}}`)
	wantJSON(t, twin.Properties.Desired, `{"a":{"c":[1,{"x":2}],"f":{}},"e":true,"$version":3,
		"$metadata":{`+now+`,"$lastUpdatedVersion":3,"a":{`+now+`,"$lastUpdatedVersion":3,"c":`+v2+`,"f":{`+now+`,"$lastUpdatedVersion":3}},"e":`+v2+`}}`)
	if twin.Version != 4 || twin.ETag != "AAAAAAAAAAM=" {
		t.Errorf("version %d, etag %s", twin.Version, twin.ETag)
	}

	// A report moves the version, not the ETag, and has no $lastUpdatedVersion.
	if v, err := report(a, `{"temp":21.50,"gone":null}`); err != nil || v != 2 {
		t.Errorf("report: %d, %v", v, err)
	}
	twin = getTwin(t, h, "d", "")
	if twin.Version != 5 || twin.ETag != "AAAAAAAAAAM=" {
		t.Errorf("version %d, etag %s", twin.Version, twin.ETag)
	}
	wantJSON(t, twin.Properties.Reported, `{"temp":21.5,"$version":2,"$metadata":{`+now+`,"temp":{`+now+`}}}`)

	// The same once more counts as an update; a change of tags leaves properties alone.
	if v, err := report(a, `{"temp":21.50}`); err != nil || v != 3 {
		t.Errorf("report: %d, %v", v, err)
	}
	twin = update(t, h, "d", "", `{"tags":{"site":{"floor":null}}}`)
	wantJSON(t, twin.Tags, `{"site":{}}`)
	if twin.Version != 7 || !strings.HasSuffix(string(twin.Properties.Desired), `"$version":3}`) {
		t.Errorf("version %d, %s", twin.Version, twin.Properties.Desired)
	}
	// Nothing to change changes nothing.
	if again := update(t, h, "d", "", `{"properties":{"reported":{"temp":1}},"other":1}`); again.Version != 7 || again.ETag != twin.ETag {
		t.Errorf("an empty patch: %+v", again)
	}
	if got := readTwin(t, a); got != `{"desired":{"a":{"c":[1,{"x":2}],"f":{}},"e":true,"$version":3},"reported":{"temp":21.50,"$version":3}}` {
		t.Errorf("the device sees %s", got)
	}
}

func TestReplaceTwin(t *testing.T) {
	h := frozen(t)
	a := attachNew(t, h, "d")
	defer a.Detach()
	var notices []string
	a.OnDesired(func(version uint64, patch []byte) { notices = append(notices, fmt.Sprintf("%d %s", version, patch)) })
	update(t, h, "d", "", `{"tags":{"x":1,"y":2},"properties":{"desired":{"a":{"b":1,"c":2},"d":[1],"e":5}}}`)
	// What az and the .NET SDK send back: the whole twin.
	replaced, err := h.ReplaceTwin(t.Context(), "d", "", []byte(`{"deviceId":"d","etag":"AAAA","version":9,"Tags":{"x":null,"z":3},
		"Properties":{"Desired":{"$metadata":{"$lastUpdated":"2020-01-01T00:00:00Z"},"$version":77,"a":{"c":3,"n":null},"e":{"f":1}},"reported":{"no":1}}}`), "AAAAAAAAAAI=")
	if err != nil {
		t.Fatal(err)
	}
	wantJSON(t, replaced.Tags, `{"z":3}`)
	if got := readTwin(t, a); got != `{"desired":{"a":{"c":3},"e":{"f":1},"$version":3},"reported":{"$version":1}}` {
		t.Errorf("the device sees %s", got)
	}
	// The section that is not there stays; null empties one.
	if _, err := h.ReplaceTwin(t.Context(), "d", "", []byte(`{"tags":{}}`), core.AnyETag); err != nil {
		t.Fatal(err)
	}
	twin := update(t, h, "d", "", `{"properties":{"desired":null}}`)
	wantJSON(t, twin.Tags, `{}`)
	if got := readTwin(t, a); got != `{"desired":{"$version":4},"reported":{"$version":1}}` {
		t.Errorf("the device sees %s", got)
	}
	want := []string{
		`2 {"a":{"b":1,"c":2},"d":[1],"e":5,"$version":2}`,
		`3 {"a":{"b":null,"c":3},"d":null,"e":{"f":1},"$version":3}`,
		`4 {"a":null,"e":null,"$version":4}`,
	}
	if !reflect.DeepEqual(notices, want) {
		t.Errorf("the device was told\n%s\nwant\n%s", strings.Join(notices, "\n"), strings.Join(want, "\n"))
	}
}

func nested(depth int, leaf string) string {
	return strings.Repeat(`{"k":`, depth) + leaf + strings.Repeat(`}`, depth)
}

// Every rule of H.2, on reported properties and, where it says so, on what the
// back end sets.
func TestTwinRules(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	many := func(n int) string { // n bytes by the rules
		var b strings.Builder
		b.WriteString("{")
		for i := 0; n > 0; i++ {
			size := min(n, 4000)
			fmt.Fprintf(&b, `"%03d":%q,`, i, long(size-3))
			n -= size
		}
		return strings.TrimSuffix(b.String(), ",") + "}"
	}
	for _, c := range []struct {
		name, patch, wrong string // wrong is in the error; empty: allowed
		code               int
	}{
		{"all kinds", `{"t":true,"f":false,"n":1,"s":"x","o":{"a":{}},"l":[1,"a",true,[2],{"a":1}],"gone":null}`, "", 0},
		{"empty", `{}`, "", 0},
		{"not JSON", `{"a":`, "not JSON", core.CodeIotHubFormatError},
		{"no body", ``, "empty", core.CodeIotHubFormatError},
		{"a space", ` `, "empty", core.CodeIotHubFormatError},
		{"two values", `{} {}`, "goes on", core.CodeIotHubFormatError},
		{"not UTF-8", "{\"a\":\"\xff\"}", "UTF-8", core.CodeIotHubFormatError},
		{"an array", `[]`, "properties.reported: it has to be a JSON object, not an array", core.CodeArgumentInvalid},
		{"a number", `1`, "not a number", core.CodeArgumentInvalid},
		{"null", `null`, "not null", core.CodeArgumentInvalid},
		{"largest integer", `{"a":4503599627370495}`, "", 0},
		{"smallest integer", `{"a":-4503599627370496}`, "", 0},
		{"integer too large", `{"a":4503599627370496}`, "properties.reported.a: the integer 4503599627370496 is not in -4503599627370496 to 4503599627370495", core.CodeArgumentInvalid},
		{"integer too small", `{"a":{"b":-4503599627370497}}`, "properties.reported.a.b: the integer", core.CodeArgumentInvalid},
		{"integer of many digits", `{"a":` + strings.Repeat("9", 30) + `}`, "the integer", core.CodeArgumentInvalid},
		{"integer in an array", `{"a":[{"b":4503599627370496}]}`, "properties.reported.a.b: the integer", core.CodeArgumentInvalid},
		{"doubles", `{"a":1e300,"b":-1.5E-7,"c":4503599627370496.5,"d":0.1000}`, "", 0},
		{"double too large", `{"a":1e400}`, "larger than a double", core.CodeArgumentInvalid},
		{"number too long", `{"a":0.` + strings.Repeat("1", 1024) + `}`, "the limit is 1024", core.CodeArgumentInvalid},
		{"longest text", `{"a":"` + long(4096) + `"}`, "", 0},
		{"text too long", `{"a":{"b":"` + long(4097) + `"}}`, "properties.reported.a.b: the text has 4097 bytes, the limit is 4096", core.CodeArgumentInvalid},
		{"text in bytes", `{"a":"` + strings.Repeat("ü", 2049) + `"}`, "4098 bytes", core.CodeArgumentInvalid},
		{"longest array", `{"a":["` + long(4088) + `",1]}`, "", 0},
		{"array too long", `{"a":["` + long(4088) + `",1,true]}`, "properties.reported.a: the array has 4100 bytes, the limit is 4096", core.CodeArgumentInvalid},
		{"null in an array", `{"a":[1,null]}`, "properties.reported.a: null is not allowed in an array", core.CodeArgumentInvalid},
		{"null in an object in an array", `{"a":[{"b":null}]}`, "properties.reported.a.b: null", core.CodeArgumentInvalid},
		{"ten levels", nested(11, "1"), "", 0},
		{"eleven levels", nested(12, "1"), "more than 10 levels deep", core.CodeArgumentInvalid},
		{"eleven levels to remove", nested(12, "null"), "more than 10 levels deep", core.CodeArgumentInvalid},
		{"deep arrays", `{"a":` + strings.Repeat("[", 10) + strings.Repeat("]", 10) + `}`, "", 0},
		{"deeper arrays", `{"a":` + strings.Repeat("[", 11) + strings.Repeat("]", 11) + `}`, "levels deep", core.CodeArgumentInvalid},
		{"deep objects in an array", `{"a":[` + nested(10, "1") + `]}`, "levels deep", core.CodeArgumentInvalid},
		{"extremely deep", strings.Repeat(`{"a":`, 20000), "not JSON", core.CodeIotHubFormatError},
		{"longest name", `{"` + long(1024) + `":1}`, "", 0},
		{"name too long", `{"a":{"` + long(1025) + `":1}}`, "properties.reported.a: the name", core.CodeArgumentInvalid},
		{"name in bytes", `{"` + strings.Repeat("ü", 513) + `":1}`, "1026 bytes", core.CodeArgumentInvalid},
		{"empty name", `{"":1}`, "empty", core.CodeArgumentInvalid},
		{"dot", `{"a.b":1}`, `properties.reported: the name "a.b" holds '.'`, core.CodeArgumentInvalid},
		{"space", `{"a b":1}`, "' '", core.CodeArgumentInvalid},
		{"dollar", `{"a$":null}`, "'$'", core.CodeArgumentInvalid},
		{"dollar below", `{"a":{"$b":1}}`, "properties.reported.a: the name", core.CodeArgumentInvalid},
		{"system property", `{"$version":5}`, "'$'", core.CodeArgumentInvalid},
		{"C0", `{"a\u0007":1}`, "control", core.CodeArgumentInvalid},
		{"C1", `{"a\u0085":1}`, "control", core.CodeArgumentInvalid},
		{"dot in an array", `{"a":[{"b.c":1}]}`, "properties.reported.a: the name", core.CodeArgumentInvalid},
		{"other names", `{"a#b/c:d-e_f\"\\<>&":1,"ключ":2}`, "", 0},
		{"largest", many(32 << 10), "", 0},
		{"too large", many(32<<10 + 1), "properties.reported: it would have 32769 bytes, the limit is 32768", core.CodeArgumentInvalid},
		{"control characters do not count", `{"a":"` + strings.Repeat(`\n`, 4096) + `","b":` + many(32<<10-2) + `}`, "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := memoryHub(t)
			a := attachNew(t, h, "d")
			defer a.Detach()
			_, err := report(a, c.patch)
			if c.wrong == "" {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			wantCode(t, err, c.code)
			if !strings.Contains(fmt.Sprint(err), c.wrong) {
				t.Errorf("the error %.300q does not say %q", err, c.wrong)
			}
			if got := readTwin(t, a); got != `{"desired":{"$version":1},"reported":{"$version":1}}` {
				t.Errorf("and yet there is %.100s", got)
			}
			if strings.HasPrefix(c.name, "system") {
				return // the back end may send these: they are what tools echo
			}
			_, err = h.UpdateTwin(t.Context(), "d", "", []byte(`{"properties":{"desired":`+c.patch+`}}`), core.AnyETag)
			if c.name != "null" && err == nil {
				t.Error("desired properties take it")
			}
		})
	}
}

func TestTwinSizeOfTheBackEnd(t *testing.T) {
	h := memoryHub(t)
	createDevice(t, h, core.Device{DeviceID: "d"})
	text := strings.Repeat("x", 4000)
	update(t, h, "d", "", `{"tags":{"a":"`+text+`","b":"`+text+`"}}`)
	_, err := h.UpdateTwin(t.Context(), "d", "", []byte(`{"tags":{"c":"`+text[:190]+`"}}`), core.AnyETag)
	wantCode(t, err, core.CodeArgumentInvalid)
	if !strings.Contains(fmt.Sprint(err), "tags: it would have 8193 bytes, the limit is 8192") {
		t.Error(err)
	}
	// The size is that of what comes of the patch.
	update(t, h, "d", "", `{"tags":{"a":null,"c":"`+text+`"}}`)
	for _, body := range []string{`[]`, `"x"`, `{"properties":5}`, `{"tags":"x"}`, `{"tags":{"a.b":1}}`, `{"deviceId":"other"}`, `{"moduleId":"m"}`} {
		_, err := h.UpdateTwin(t.Context(), "d", "", []byte(body), core.AnyETag)
		wantCode(t, err, core.CodeArgumentInvalid)
	}
}

func TestTwinErrors(t *testing.T) {
	h := memoryHub(t)
	a := attachNew(t, h, "d")
	_, err := h.GetTwin("none", "")
	wantCode(t, err, core.CodeDeviceNotFound)
	_, err = h.GetTwin("d", "none")
	wantCode(t, err, core.CodeModuleNotFound)
	_, err = h.UpdateTwin(t.Context(), "none", "", []byte(`bad`), core.AnyETag)
	wantCode(t, err, core.CodeDeviceNotFound)
	_, err = h.ReplaceTwin(t.Context(), "d", "none", []byte(`{}`), core.AnyETag)
	wantCode(t, err, core.CodeModuleNotFound)
	_, err = h.UpdateTwin(t.Context(), "d", "", []byte(`{"tags":{}}`), "AAAAAAAAAAk=")
	wantCode(t, err, core.CodePreconditionFailed)
	// Disabled devices have twins all the same.
	if _, err := h.UpdateDevice(t.Context(), core.Device{DeviceID: "d", Status: core.StatusDisabled}, core.AnyETag); err != nil {
		t.Fatal(err)
	}
	_, err = report(a, `{}`)
	wantCode(t, err, core.CodeUnauthorized)
	if twin := update(t, h, "d", "", `{"tags":{"a":1}}`); twin.Status != core.StatusDisabled {
		t.Errorf("status %s", twin.Status)
	}
	a.Detach()
}

// A twin goes with its identity, and one of the same name starts afresh.
func TestTwinGoesWithItsIdentity(t *testing.T) {
	onStores(t, func(t *testing.T, open func() (core.Storage, func())) {
		s, closeStore := open()
		h, err := core.New(t.Context(), core.Config{}, s)
		if err != nil {
			t.Fatal(err)
		}
		a := attachNew(t, h, "d")
		createModule(t, h, core.Module{DeviceID: "d", ModuleID: "m"})
		createModule(t, h, core.Module{DeviceID: "d", ModuleID: "n"})
		for _, m := range []string{"", "m", "n"} {
			update(t, h, "d", m, `{"tags":{"old":1}}`)
		}
		if err := h.DeleteModule(t.Context(), "d", "m", core.AnyETag); err != nil {
			t.Fatal(err)
		}
		createModule(t, h, core.Module{DeviceID: "d", ModuleID: "m"})
		wantJSON(t, getTwin(t, h, "d", "m").Tags, `{}`)
		wantJSON(t, getTwin(t, h, "d", "n").Tags, `{"old":1}`)
		if err := h.DeleteDevice(t.Context(), "d", core.AnyETag); err != nil {
			t.Fatal(err)
		}
		a.ReadTwin(func(_ []byte, err error) { wantCode(t, err, core.CodeDeviceNotFound) })
		a.Detach()
		createDevice(t, h, core.Device{DeviceID: "d"})
		a.ReadTwin(func(_ []byte, err error) { wantCode(t, err, core.CodeDeviceNotFound) })
		createModule(t, h, core.Module{DeviceID: "d", ModuleID: "n"})
		update(t, h, "d", "n", `{"tags":{"new":1}}`)
		check := func(h *core.Hub) {
			t.Helper()
			wantJSON(t, getTwin(t, h, "d", "").Tags, `{}`)
			wantJSON(t, getTwin(t, h, "d", "n").Tags, `{"new":1}`)
			if twin := getTwin(t, h, "d", ""); twin.Version != 2 || twin.ETag != "AAAAAAAAAAE=" {
				t.Errorf("it is not fresh: %+v", twin)
			}
		}
		check(h)
		closeHub(t, h)
		closeStore()
		s, closeStore = open()
		defer closeStore()
		check(newHub(t, core.Config{}, s))
	})
}

func TestTwinsSurviveRestarts(t *testing.T) {
	onStores(t, func(t *testing.T, open func() (core.Storage, func())) {
		const devices = 30
		want := map[string]core.Twin{}
		for round := range 4 {
			s, closeStore := open()
			h, err := core.New(t.Context(), core.Config{}, s)
			if err != nil {
				t.Fatal(err)
			}
			for i := range devices {
				id := fmt.Sprintf("d%d", i)
				if round == 0 {
					createDevice(t, h, core.Device{DeviceID: id})
					continue
				}
				got := getTwin(t, h, id, "")
				if w, ok := want[id]; ok {
					if !reflect.DeepEqual(got, w) {
						t.Fatalf("round %d: %s is\n%+v\nand was\n%+v", round, id, got, w)
					}
				}
			}
			var mu sync.Mutex
			var wg sync.WaitGroup
			for i := range devices {
				wg.Go(func() {
					id := fmt.Sprintf("d%d", i)
					for n := range 5 {
						_, err := h.UpdateTwin(t.Context(), id, "", fmt.Appendf(nil,
							`{"tags":{"r%d":{"n":%d,"digits":1.500}},"properties":{"desired":{"list":[%d,"ü\"<"],"x%d":null,"y":"\u0007"}}}`, round, n, n, n), core.AnyETag)
						if err != nil {
							t.Error(err)
						}
					}
					twin := getTwin(t, h, id, "")
					mu.Lock()
					want[id] = twin
					mu.Unlock()
				})
			}
			wg.Wait()
			closeHub(t, h)
			closeStore()
		}
		for id, twin := range want {
			if twin.Version != 22 || twin.ETag != "AAAAAAAAABU=" || !strings.Contains(string(twin.Tags), `"digits":1.500`) {
				t.Errorf("%s: %+v", id, twin)
			}
		}
	})
}

// The model that a device announces is kept, whoever connects later.
func TestModelIsKept(t *testing.T) {
	s := memory.New(nil)
	h, err := core.New(t.Context(), core.Config{HostName: "hub.example"}, s)
	if err != nil {
		t.Fatal(err)
	}
	d := createDevice(t, h, core.Device{DeviceID: "d"})
	for _, model := range []string{"dtmi:a;1", "", "dtmi:a;1"} {
		a, err := h.Attach(login(t, h, "d", "", d.Authentication), model, func(error) {})
		if err != nil {
			t.Fatal(err)
		}
		mustReport(t, a, `{}`) // behind it in the queue
		a.Detach()
	}
	closeHub(t, h)
	h = newHub(t, core.Config{}, s)
	if twin := getTwin(t, h, "d", ""); twin.ModelID != "dtmi:a;1" || twin.Version != 5 {
		t.Errorf("%+v", twin)
	}
}

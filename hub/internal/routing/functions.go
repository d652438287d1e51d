package routing

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
)

// function is one of the language's.
type function struct {
	least, most int           // number of arguments; most 0 is any number
	args        [][]valueType // of each argument, the last for all further ones; empty is any
	result      valueType
	apply       func(args []value) value
}

var (
	anyType    = [][]valueType{{}}
	oneNumber  = [][]valueType{{numberType}}
	onlyString = [][]valueType{{stringType}}
)

// functions by their names in lower case.
var functions = map[string]function{
	"abs":     {1, 1, oneNumber, numberType, numeric(math.Abs)},
	"exp":     {1, 1, oneNumber, numberType, numeric(math.Exp)},
	"square":  {1, 1, oneNumber, numberType, numeric(func(v float64) float64 { return v * v })},
	"ceiling": {1, 1, oneNumber, numberType, numeric(math.Ceil)},
	"floor":   {1, 1, oneNumber, numberType, numeric(math.Floor)},
	"sqrt":    {1, 1, oneNumber, numberType, numeric(math.Sqrt)},
	"sign":    {1, 1, oneNumber, numberType, numeric(sign)},
	"power":   {2, 2, oneNumber, numberType, power},

	"as_number": {1, 1, [][]valueType{{stringType, numberType}}, numberType, asNumber},

	"is_bool":      {1, 1, anyType, boolType, is(func(v value) bool { return v.kind == boolValue })},
	"is_defined":   {1, 1, anyType, boolType, is(func(v value) bool { return v.kind != undefinedValue && !v.missing })},
	"is_null":      {1, 1, anyType, boolType, is(func(v value) bool { return v.kind == nullValue && !v.missing })},
	"is_number":    {1, 1, anyType, boolType, is(func(v value) bool { return v.kind == numberValue && !math.IsInf(v.number, 0) })},
	"is_string":    {1, 1, anyType, boolType, is(func(v value) bool { return v.kind == stringValue })},
	"is_array":     {1, 1, anyType, boolType, is(func(v value) bool { return v.kind == arrayValue })},
	"is_object":    {1, 1, anyType, boolType, is(func(v value) bool { return v.kind == objectValue })},
	"is_primitive": {1, 1, anyType, boolType, is(func(v value) bool { return !opaque(v) && !v.missing })},

	"concat":      {2, 0, [][]valueType{{stringType, nullType}}, stringType, concat},
	"length":      {1, 1, onlyString, numberType, length},
	"lower":       {1, 1, onlyString, stringType, textual(strings.ToLower)},
	"upper":       {1, 1, onlyString, stringType, textual(strings.ToUpper)},
	"substring":   {2, 3, [][]valueType{{stringType}, {numberType}, {numberType}}, stringType, substring},
	"index_of":    {2, 2, onlyString, numberType, indexOf},
	"starts_with": {2, 2, onlyString, boolType, both(strings.HasPrefix)},
	"ends_with":   {2, 2, onlyString, boolType, both(strings.HasSuffix)},
	"contains":    {2, 2, onlyString, boolType, both(strings.Contains)},
}

func numeric(f func(float64) float64) func([]value) value {
	return func(args []value) value {
		if args[0].kind != numberValue {
			return undefined
		}
		return number(f(args[0].number))
	}
}

func sign(v float64) float64 {
	switch {
	case v > 0:
		return 1
	case v < 0:
		return -1
	}
	return 0
}

func power(args []value) value {
	if args[0].kind != numberValue || args[1].kind != numberValue {
		return undefined
	}
	return number(math.Pow(args[0].number, args[1].number))
}

// asNumber reads a number as people write it, also with commas between thousands.
func asNumber(args []value) value {
	switch v := args[0]; v.kind {
	case numberValue:
		return v
	case stringValue:
		s := strings.ReplaceAll(strings.TrimSpace(v.text), ",", "")
		if strings.ContainsAny(s, "xX_pP") { // Go's, not the language's
			return undefined
		}
		if n, err := strconv.ParseFloat(s, 64); err == nil {
			return number(n)
		}
	}
	return undefined
}

func is(f func(value) bool) func([]value) value {
	return func(args []value) value { return truth(f(args[0])) }
}

func textual(f func(string) string) func([]value) value {
	return func(args []value) value {
		if args[0].kind != stringValue {
			return undefined
		}
		return text(f(args[0].text))
	}
}

func both(f func(s, part string) bool) func([]value) value {
	return func(args []value) value {
		if args[0].kind != stringValue || args[1].kind != stringValue {
			return undefined
		}
		return truth(f(args[0].text, args[1].text))
	}
}

// maxConcat bounds what a condition can make of a message.
const maxConcat = 1 << 20

// concat joins strings; null is the empty one.
func concat(args []value) value {
	var b strings.Builder
	for _, a := range args {
		switch a.kind {
		case stringValue:
			if b.Len()+len(a.text) > maxConcat {
				return undefined
			}
			b.WriteString(a.text)
		case nullValue:
		default:
			return undefined
		}
	}
	return text(b.String())
}

// The language counts in UTF-16, as the reference does.

func length(args []value) value {
	if args[0].kind != stringValue {
		return undefined
	}
	return number(float64(len(utf16.Encode([]rune(args[0].text)))))
}

func indexOf(args []value) value {
	if args[0].kind != stringValue || args[1].kind != stringValue {
		return undefined
	}
	at := strings.Index(args[0].text, args[1].text)
	if at < 0 {
		return number(-1)
	}
	return number(float64(len(utf16.Encode([]rune(args[0].text[:at])))))
}

func substring(args []value) value {
	if args[0].kind != stringValue || args[1].kind != numberValue {
		return undefined
	}
	units := utf16.Encode([]rune(args[0].text))
	size := float64(len(units))
	start := math.Trunc(args[1].number)
	if len(args) == 2 {
		if start < 0 || start > size {
			return undefined
		}
		return text(string(utf16.Decode(units[int(start):])))
	}
	if args[2].kind != numberValue {
		return undefined
	}
	count := math.Trunc(args[2].number)
	if start < 0 || start >= size || count < 0 || count > size-start {
		return undefined
	}
	return text(string(utf16.Decode(units[int(start) : int(start)+int(count)])))
}

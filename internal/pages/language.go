package pages

import (
	"regexp"
	"strconv"
	"strings"
)

// maxAcceptLanguage bounds the work for one header; browsers send under 200 bytes.
const maxAcceptLanguage = 1024

// Language picks "zh" or "en" from the value of an Accept-Language header: the one with the higher
// quality, the earlier one if they are equal, and "zh" if neither is wanted. It accepts any input
// and reads the first 1024 bytes of it.
func Language(acceptLanguage string) string {
	if len(acceptLanguage) > maxAcceptLanguage {
		// The last range may have lost its quality with its end.
		acceptLanguage = acceptLanguage[:maxAcceptLanguage]
		acceptLanguage = acceptLanguage[:strings.LastIndexByte(acceptLanguage, ',')+1]
	}
	best, bestQuality := "zh", 0.0
	for item := range strings.SplitSeq(acceptLanguage, ",") {
		tag, params, _ := strings.Cut(item, ";")
		lang := primaryLanguage(tag)
		if lang == "" {
			continue
		}
		if q := quality(params); q > bestQuality {
			best, bestQuality = lang, q
		}
	}
	return best
}

// primaryLanguage maps a language range to one of our languages, "" for none. "*" is whatever we
// like best.
func primaryLanguage(tag string) string {
	primary, _, _ := strings.Cut(strings.Trim(tag, " \t"), "-")
	switch {
	case strings.EqualFold(primary, "zh"), primary == "*":
		return "zh"
	case strings.EqualFold(primary, "en"):
		return "en"
	}
	return ""
}

// A quality value, by RFC 9110, section 12.4.2.
var qvalue = regexp.MustCompile(`^(?i:q)=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)$`)

// quality reads what follows the first semicolon of a range: 1 if there is nothing, 0 if it is not
// a quality.
func quality(params string) float64 {
	params = strings.Trim(params, " \t")
	if params == "" {
		return 1
	}
	m := qvalue.FindStringSubmatch(params)
	if m == nil {
		return 0
	}
	q, _ := strconv.ParseFloat(m[1], 64)
	return q
}

package pages

import "strings"

// maxAcceptLanguage bounds the work for one header; browsers send under 200 bytes.
const maxAcceptLanguage = 1024

// Language picks "zh" or "en" from the value of an Accept-Language header: the
// one with the higher quality, the earlier one if they are equal, and "zh" if
// neither is wanted. It accepts any input and reads the first 1024 bytes of it.
func Language(acceptLanguage string) string {
	if len(acceptLanguage) > maxAcceptLanguage {
		// The last range may have lost its quality with its end.
		acceptLanguage = acceptLanguage[:maxAcceptLanguage]
		acceptLanguage = acceptLanguage[:strings.LastIndexByte(acceptLanguage, ',')+1]
	}
	best, bestQuality := "zh", 0
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

// primaryLanguage maps a language range to one of our languages, "" for none.
// "*" is whatever we like best.
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

// quality reads what follows the first semicolon of a range as thousandths: 1000
// if there is nothing, 0 if it is not a quality by RFC 9110, section 12.4.2.
func quality(params string) int {
	params = strings.Trim(params, " \t")
	if params == "" {
		return 1000
	}
	name, value, _ := strings.Cut(params, "=")
	if !strings.EqualFold(name, "q") {
		return 0
	}
	whole, fraction, _ := strings.Cut(value, ".")
	if whole != "0" && whole != "1" || len(fraction) > 3 {
		return 0
	}
	q := int(whole[0]-'0') * 1000
	for i, unit := 0, 100; i < len(fraction); i, unit = i+1, unit/10 {
		if fraction[i] < '0' || fraction[i] > '9' {
			return 0
		}
		q += int(fraction[i]-'0') * unit
	}
	if q > 1000 {
		return 0
	}
	return q
}

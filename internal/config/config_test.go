package config_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/wecomauth/wecom/internal/config"
)

func TestAddress(t *testing.T) {
	for address, want := range map[string]string{
		"https://s3cret.example.com/x":        "",
		"http://localhost:8080":               "",
		"http://LocalHost/s3cret":             "",
		"http://127.8.9.1/":                   "",
		"http://[::1]:80":                     "",
		"":                                    "",
		"s3cret.example.com/x":                "absolute",
		"/s3cret":                             "absolute",
		"https:s3cret":                        "absolute",
		"https://:443/s3cret":                 "absolute",
		"https://s3cret\x7f":                  "absolute",
		"https://a:s3cret@host":               "neither",
		"https://host/?s3cret":                "neither",
		"https://host/?":                      "neither",
		"https://host/#":                      "neither",
		"http://s3cret.example.com":           "https",
		"http://10.0.0.1":                     "https",
		"http://127.0.0.1.s3cret.example.com": "https",
		"ftp://localhost":                     "https",
	} {
		var m config.Mistakes
		m.Address("Endpoints.API", address)
		err := m.Err("these options")
		if want == "" {
			assert.NoError(t, err, address)
			continue
		}
		assert.ErrorContains(t, err, "Endpoints.API: want ", address)
		assert.ErrorContains(t, err, want, address)
		assert.NotContains(t, err.Error(), "s3cret")
	}
}

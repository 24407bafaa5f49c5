// Package wecomtest is a fake WeCom.
package wecomtest

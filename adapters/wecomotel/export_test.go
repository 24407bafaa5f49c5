package wecomotel

var NewTransport = newTransport

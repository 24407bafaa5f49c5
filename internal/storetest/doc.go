// Package storetest tests a [wecom.TokenStore] with separate processes: a fleet that shares a
// token, writers that are killed, a lock's holder that is killed.
//
// The processes are further runs of the test binary. Its TestMain calls [Main], which tells them apart.
package storetest

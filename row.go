package wecom

import (
	"encoding/binary"
	"hash/crc32"
	"time"
)

// A session is a row that was found or just written. The zero session is nobody's.
type session struct {
	id      *Identity // never modified: requests share it
	token   string    // "" if there is no row to delete
	expires time.Time
	ended   bool // the browser sent a token, but its session has ended or is unknown
}

func (s session) live() bool { return s.token != "" && !s.ended }

// tokenLen is the length of a session token as it stands in the cookie: 256 bits in base64url.
const tokenLen = 43

// A session's row is encoded by hand, not by gob or JSON: it is read on every signed-in request
// and must stay readable after an upgrade. Version 1:
//
//	version byte, authenticated and expires (Unix nanoseconds, 8 bytes each),
//	the identity's strings, each with its length before it, in rowFields' order,
//	the number of departments and each of them,
//	the device id like the strings, if there is one or names follow,
//	the departments' names like the strings, if there are any, CRC-32C of all that
//
// The checksum keeps a flipped bit from naming another person. It is not a signature: anyone
// who can write to the store can sign in as anybody anyway.
const rowVersion = 1

var crcTable = crc32.MakeTable(crc32.Castagnoli)

func rowFields(id *Identity) [13]*string {
	return [...]*string{
		&id.Provider, &id.CorpID, &id.AppID,
		&id.UserID, &id.LinkedUserID, &id.OpenID, &id.ExternalUserID, &id.UnionID,
		&id.Name, &id.BizMail, &id.Email, &id.Mobile, &id.AvatarURL,
	}
}

func encodeRow(s session) []byte {
	b := make([]byte, 0, 256)
	b = append(b, rowVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(s.id.AuthenticatedAt.UnixNano()))
	b = binary.BigEndian.AppendUint64(b, uint64(s.expires.UnixNano()))
	for _, f := range rowFields(s.id) {
		b = binary.AppendUvarint(b, uint64(len(*f)))
		b = append(b, *f...)
	}
	b = binary.AppendUvarint(b, uint64(len(s.id.Departments)))
	for _, d := range s.id.Departments {
		b = binary.AppendVarint(b, d)
	}
	var last []string
	if names := s.id.DepartmentNames; len(names) > 0 && len(names) == len(s.id.Departments) {
		last = append(last, s.id.DeviceID)
		last = append(last, names...)
	} else if s.id.DeviceID != "" {
		last = append(last, s.id.DeviceID)
	}
	for _, f := range last {
		b = binary.AppendUvarint(b, uint64(len(f)))
		b = append(b, f...)
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, crcTable))
}

// decodeRow reads a row. ok is false for anything that encodeRow of this version does not
// write: there is no session then, and the person signs in again.
func decodeRow(row []byte) (s session, ok bool) {
	const head, tail = 1 + 8 + 8, 4
	if len(row) < head+tail || row[0] != rowVersion {
		return session{}, false
	}
	body := row[:len(row)-tail]
	if crc32.Checksum(body, crcTable) != binary.BigEndian.Uint32(row[len(body):]) {
		return session{}, false
	}
	s.id = new(Identity)
	s.id.AuthenticatedAt = time.Unix(0, int64(binary.BigEndian.Uint64(row[1:])))
	s.expires = time.Unix(0, int64(binary.BigEndian.Uint64(row[9:])))

	text := string(body) // one allocation, which all fields share
	at := head
	next := func() (field string, ok bool) {
		n, size := binary.Uvarint(body[at:])
		if size <= 0 || n > uint64(len(body)-at-size) {
			return "", false
		}
		at += size + int(n)
		return text[at-int(n) : at], true
	}
	for _, f := range rowFields(s.id) {
		if *f, ok = next(); !ok {
			return session{}, false
		}
	}
	n, size := binary.Uvarint(body[at:])
	if size <= 0 || n > uint64(len(body)-at-size) { // each department is a byte at least
		return session{}, false
	}
	at += size
	if n > 0 {
		s.id.Departments = make([]int64, n)
	}
	for i := range s.id.Departments {
		d, size := binary.Varint(body[at:])
		if size <= 0 {
			return session{}, false
		}
		at += size
		s.id.Departments[i] = d
	}
	if at < len(body) {
		if s.id.DeviceID, ok = next(); !ok || s.id.DeviceID == "" && at == len(body) {
			return session{}, false
		}
	}
	if at < len(body) {
		s.id.DepartmentNames = make([]string, len(s.id.Departments))
		for i := range s.id.DepartmentNames {
			if s.id.DepartmentNames[i], ok = next(); !ok {
				return session{}, false
			}
		}
	}
	return s, at == len(body) && s.id.namesSomebody()
}

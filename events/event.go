package events

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"
)

// A Kind says what happened, as far as this package knows it.
type Kind string

// The kinds of events that concern people. An event of any other kind has the
// Kind Other, and is told apart by Event.Name.
const (
	Other Kind = ""

	Subscribe   Kind = "subscribe"   // a member joined, was enabled, or came into the visible range
	Unsubscribe Kind = "unsubscribe" // a member left, was disabled, or fell out of the visible range
	EnterAgent  Kind = "enter_agent" // a member opened the app in WeCom

	MemberCreated Kind = "create_user"
	MemberUpdated Kind = "update_user" // Event.NewUserID is set if the user id changed
	MemberDeleted Kind = "delete_user"

	DepartmentCreated Kind = "create_party"
	DepartmentUpdated Kind = "update_party" // renamed or moved
	DepartmentDeleted Kind = "delete_party"
	TagUpdated        Kind = "update_tag" // members or departments were added or removed

	InactiveAlert     Kind = "inactive_alert"        // WeCom is about to close the app for disuse
	InactiveAppClosed Kind = "close_inactive_agent"  // WeCom closed it
	InactiveAppOpened Kind = "reopen_inactive_agent" // an administrator opened it again
	AddressesChanged  Kind = "change_domain_ip"      // WeCom's own domains or IP addresses changed
)

var kinds = map[Kind]bool{
	Subscribe: true, Unsubscribe: true, EnterAgent: true,
	MemberCreated: true, MemberUpdated: true, MemberDeleted: true,
	DepartmentCreated: true, DepartmentUpdated: true, DepartmentDeleted: true, TagUpdated: true,
	InactiveAlert: true, InactiveAppClosed: true, InactiveAppOpened: true, AddressesChanged: true,
}

// An Event is one decrypted message of WeCom's. Its sender knew Token and
// EncodingAESKey; nothing else about it is verified.
type Event struct {
	// Kind is what happened, Other for what this package does not know.
	Kind Kind
	// Name is the message's Event (or InfoType, or for what people write to the
	// app MsgType), such as "change_contact".
	Name string
	// ReceiveID is the id that the message is encrypted for: the corp's, or a suite's.
	ReceiveID string
	// CorpID is the corp that the event is about.
	CorpID string
	// AgentID is the app that is told, empty for contact sync and suites.
	AgentID string
	// UserID is the member that the event is about, before a change of the id; empty if it is about nobody.
	UserID string
	// NewUserID is the member's id from now on, if that is what changed.
	NewUserID string
	// Time is when it happened, by WeCom's clock, in whole seconds.
	Time time.Time
	// Fields holds the text of the message's elements by their names, such as
	// "ChangeType", "Department" or "TagId". Elements that hold further elements
	// are left out. It must not be modified.
	Fields map[string]string
	// Raw is the message, XML or JSON. It must not be modified.
	Raw []byte
}

// parse reads a decrypted message.
func parse(raw []byte, receiveID string) (Event, error) {
	fields, err := fieldsOf(raw)
	if err != nil {
		return Event{}, err
	}
	seconds, _ := strconv.ParseInt(first(fields, "CreateTime", "TimeStamp"), 10, 64)
	ev := Event{
		Name:      first(fields, "Event", "InfoType", "MsgType"),
		ReceiveID: receiveID,
		CorpID:    receiveID,
		AgentID:   fields["AgentID"],
		UserID:    first(fields, "UserID", "FromUserName"),
		NewUserID: fields["NewUserID"],
		Time:      time.Unix(seconds, 0),
		Fields:    fields,
		Raw:       raw,
	}
	if corp := fields["AuthCorpId"]; corp != "" { // the message is encrypted for a suite
		ev.CorpID = corp
	}
	if ev.UserID == "sys" && fields["UserID"] == "" {
		ev.UserID = ""
	}
	kind := Kind(ev.Name)
	switch {
	case ev.Name == "change_contact", ev.Name == "security":
		kind = Kind(fields["ChangeType"])
	case fields["MsgType"] != "event" && fields["InfoType"] == "":
		kind = Other // what people write to the app
	}
	if kinds[kind] {
		ev.Kind = kind
	}
	return ev, nil
}

func first(fields map[string]string, names ...string) string {
	for _, name := range names {
		if v := fields[name]; v != "" {
			return v
		}
	}
	return ""
}

var errForm = errors.New("the document is neither XML nor JSON")

// fieldsOf reads the elements of an XML or JSON document that hold text.
func fieldsOf(document []byte) (map[string]string, error) {
	document = bytes.TrimSpace(document)
	switch {
	case bytes.HasPrefix(document, []byte("<")):
		return xmlFields(document)
	case bytes.HasPrefix(document, []byte("{")):
		return jsonFields(document)
	}
	return nil, errForm
}

// xmlFields reads the children of the root element. CDATA and plain text are mixed freely by WeCom,
// and so are the blanks around them.
func xmlFields(document []byte) (map[string]string, error) {
	fields := map[string]string{}
	d := xml.NewDecoder(bytes.NewReader(document))
	var depth int
	var name string
	var leaf bool // nothing but text since the last element began
	var text strings.Builder
	for {
		token, err := d.Token()
		switch token := token.(type) {
		case nil:
			if err == io.EOF && depth == 0 && name != "" {
				return fields, nil
			}
			return nil, errForm
		case xml.Directive: // a document type could define entities
			return nil, errForm
		case xml.StartElement:
			depth++
			name, leaf = token.Name.Local, true
			text.Reset()
		case xml.CharData:
			text.Write(token)
		case xml.EndElement:
			if _, twice := fields[name]; depth == 2 && leaf && !twice {
				fields[name] = strings.TrimSpace(text.String())
			}
			depth--
			leaf = false
		}
	}
}

func jsonFields(document []byte) (map[string]string, error) {
	var values map[string]json.RawMessage
	if json.Unmarshal(document, &values) != nil {
		return nil, errForm
	}
	fields := map[string]string{}
	for name, value := range values {
		var text string
		var number json.Number
		switch {
		case json.Unmarshal(value, &text) == nil:
			fields[name] = strings.TrimSpace(text)
		case json.Unmarshal(value, &number) == nil:
			fields[name] = number.String()
		}
	}
	return fields, nil
}

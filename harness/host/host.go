// Package host is what the packages that run virtual machines and scenarios on this
// machine ask of its kernel and Go's portable packages do not have. It is Linux's; on
// other systems every call returns an error, and [Linux] says so beforehand.
//
// The build tag notlinux makes a Linux binary behave as one of another system does,
// for tests.
package host

import "errors"

// ErrNotLinux says that only Linux can do what was asked for.
var ErrNotLinux = errors.New("this needs Linux")

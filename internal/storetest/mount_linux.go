package storetest

import "syscall"

func mount(folder, size string) error {
	return syscall.Mount("tmpfs", folder, "tmpfs", 0, "size="+size+",mode=700")
}

func remount(folder string, readOnly bool) error {
	flags := uintptr(syscall.MS_REMOUNT)
	if readOnly {
		flags |= syscall.MS_RDONLY
	}
	return syscall.Mount("tmpfs", folder, "tmpfs", flags, "")
}

func unmount(folder string) error { return syscall.Unmount(folder, syscall.MNT_DETACH) }

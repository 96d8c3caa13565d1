#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A module of dracut, for the dump initrd only. dracut has read kdumpd's configuration before: the kdumpd_* variables.

# 255: only where somebody asks for it, as kdumpd does with --add.
check() {
    return 255
}

depends() {
    echo rootfs-block
}

installkernel() {
    # Where sysfs hides a controller (NVMe with several paths has its disks below /sys/devices/virtual), dracut does not
    # find it by itself. With hostonly it would leave out what it does not see in use.
    # shellcheck disable=SC2086,SC2154
    hostonly='' instmods ${kdumpd_modules} ${kdumpd_store_modules}
}

install() {
    # The first door. vmcore-dmesg is for the case that the root is dead, and Python and makedumpfile with it.
    inst_multiple blkid cat chroot date mkdir modprobe mount mv sh sleep switch_root sync tail timeout umount uname vmcore-dmesg
    mv "${initdir:?}/init" "$initdir/init.generator"
    # shellcheck disable=SC2154
    inst_simple "$kdumpd_files/init" /init
    inst_simple "$kdumpd_files/enter" /kdumpd/enter
    inst_simple "$kdumpd_files/functions" /kdumpd/functions
    inst_hook pre-pivot 90 "${moddir:?}/pre-pivot.sh"
    for name in ${!kdumpd_@}; do
        echo "$name='${!name}'"
    done >"$initdir/kdumpd/settings"
    # shellcheck disable=SC2154
    echo "kdumpd ${kdumpd_version:?}" >"$initdir/etc/kdumpd-image"
}

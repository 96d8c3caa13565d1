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
    hostonly='' instmods ${kdumpd_modules} ${kdumpd_load}
}

install() {
    local module
    # shellcheck disable=SC2154
    for module in ${kdumpd_load}; do
        echo "$module" >>"${initdir:?}/etc/modules-load.d/kdumpd.conf"
    done
    echo "kdumpd ${kdumpd_version:?}" >"${initdir:?}/etc/kdumpd-image"
}

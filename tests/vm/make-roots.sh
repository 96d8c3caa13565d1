#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Makes the disks of roots.py, as the init of a machine that does nothing else and has them all attached. Its own root is the
# server that is to be on each of them, read-only; what makes them differ is in the folder layouts beside this script.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
set -eu
exec <>/dev/console >&0 2>&1

layouts=/root/layouts
# shellcheck source=/dev/null
. $layouts/uuids
disk=/dev/disk/by-id/virtio-
server=/tmp/server
target=/tmp/target

now()
{
	read -r seconds _ </proc/uptime
	echo "make-roots: $seconds s: $*"
}

partition()
{
	echo 'label: gpt
type=linux' | sfdisk --quiet "$disk$1"
	udevadm settle
}

# fill LAYOUT DEVICE FOLDER: puts the server into a file system.
fill()
{
	mount "$2" "$target"
	cp --archive "$server/." "$target$3"
	cp --archive "$layouts/$1/." "$target$3"
	umount "$target"
	now "$1 is made"
}

mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mkdir "$server" "$target"
# Without what is mounted inside.
mount --bind / "$server"
/lib/systemd/systemd-udevd --daemon
udevadm trigger --action=add
udevadm settle
# Where lvm2 and mdadm keep notes of what they do.
mount -t tmpfs tmpfs /etc/lvm
now "begins"

partition xfs
mkfs.xfs -q -m uuid="$XFS_UUID" "${disk}xfs-part1"
fill xfs "${disk}xfs-part1" ""
mkfs.ext4 -q -U "$DUMP_UUID" "${disk}dump"

partition btrfs
mkfs.btrfs -q --uuid "$BTRFS_UUID" "${disk}btrfs-part1"
mount "${disk}btrfs-part1" "$target"
btrfs -q subvolume create "$target/@"
umount "$target"
fill btrfs "${disk}btrfs-part1" /@

mdadm --quiet --create /dev/md0 --run --assume-clean --level=1 --raid-devices=2 --metadata=1.2 --uuid="$ARRAY_UUID" \
	"${disk}first" "${disk}second"
pvcreate --quiet /dev/md0
vgcreate --quiet server /dev/md0
lvcreate --quiet --yes --name root --extents 100%FREE server
mkfs.ext4 -q /dev/server/root
fill lvm /dev/server/root ""
vgchange --quiet --activate n server
mdadm --quiet --stop /dev/md0

# Debian's own choice, Argon2, asks for up to 1 GB of memory: no dump kernel has that.
partition luks
cryptsetup luksFormat --batch-mode --uuid "$LUKS_UUID" --pbkdf pbkdf2 --pbkdf-force-iterations 1000 \
	"${disk}luks-part1" "$layouts/luks/etc/keys/system.key"
cryptsetup open --key-file "$layouts/luks/etc/keys/system.key" "${disk}luks-part1" system
mkfs.ext4 -q /dev/mapper/system
fill luks /dev/mapper/system ""
cryptsetup close system

sync
now "all roots are made"
poweroff --force --force

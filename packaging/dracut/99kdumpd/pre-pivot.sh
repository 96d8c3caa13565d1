#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# dracut sources this when it has mounted the root, just before it leaves the initrd.
/kdumpd/enter "$NEWROOT"

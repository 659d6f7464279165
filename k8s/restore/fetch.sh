#!/bin/sh
# Fetch the snapshot SNAPSHOT from ARCHIVE into a folder: `daily` is the newest one there, `daily/<stamp>` that one.
#
#   fetch.sh DIRECTORY
set -eu

directory=$1
wanted=${SNAPSHOT:?daily, weekly, monthly, or one of them}
case $wanted in
  */*) snapshot=$wanted ;;
  # A folder without SHA256SUMS was not finished.
  *) snapshot=$wanted/$(rclone lsf --recursive --files-only --include '*/SHA256SUMS' "$ARCHIVE/$wanted" | sort | tail -n 1) ;;
esac
snapshot=${snapshot%/SHA256SUMS}
echo "fetching $snapshot"
rclone copy "$ARCHIVE/$snapshot" "$directory"
cd "$directory"
sha256sum -c SHA256SUMS

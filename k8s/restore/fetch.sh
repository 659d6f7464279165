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
  *)
    newest=$(rclone lsf --recursive --files-only --include '*/SHA256SUMS' "$ARCHIVE/$wanted" | sort | tail -n 1)
    snapshot=$wanted/${newest:?no snapshot is there}
    snapshot=${snapshot%/SHA256SUMS}
    ;;
esac
echo "fetching $snapshot"
rclone copy "$ARCHIVE/$snapshot" "$directory"
cd "$directory"
sha256sum -c SHA256SUMS

#!/bin/sh
# Bring snapshots to object storage, and keep only the newest of them there.
#
#   archive.sh DIRECTORY
#
# ARCHIVE         where to, as rclone says it: archive:BUCKET/PREFIX; the remote is set by RCLONE_CONFIG_ARCHIVE_*
# ARCHIVE_FOLDER  daily, weekly or monthly
# ARCHIVE_KEEP    how many are kept in the folder
set -eu

directory=$1
folder="$ARCHIVE/$ARCHIVE_FOLDER"
stamp=$(date -u +%Y-%m-%dT%H-%M-%SZ)

cd "$directory"
sha256sum -c SHA256SUMS
# SHA256SUMS goes last: a folder without it is not complete, and is never restored.
rclone copy --exclude SHA256SUMS . "$folder/$stamp"
rclone check --one-way --exclude SHA256SUMS . "$folder/$stamp"
rclone copy SHA256SUMS "$folder/$stamp"
echo "archived as $ARCHIVE_FOLDER/$stamp"

# Names sort by age. Old ones are deleted only when the new one is complete.
rclone lsf --dirs-only "$folder" | sort -r | tail -n "+$((ARCHIVE_KEEP + 1))" | while read -r old; do
  echo "removing $ARCHIVE_FOLDER/$old"
  rclone purge "$folder/$old"
done

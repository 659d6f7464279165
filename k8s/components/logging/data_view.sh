#!/bin/sh
# Create the data view (index pattern) of the logs in Kibana, or update it.
set -eu

curl --fail --silent --show-error --retry 10 --retry-delay 5 --retry-connrefused \
  --user "$KIBANA_USER:$(cat /credentials/password)" \
  --header 'kbn-xsrf: true' --header 'content-type: application/json' \
  --data '{
    "override": true,
    "data_view": {
      "id": "rate-limit",
      "name": "Rate limits",
      "title": "rate-limit-*",
      "timeFieldName": "@timestamp"
    }
  }' \
  "$KIBANA_URL/api/data_views/data_view"

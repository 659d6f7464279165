#!/bin/sh
# Create or update what the logs need in Elasticsearch and Kibana: how long they are kept, which fields they have, the data
# view, and saved searches.
set -eu

ask() {
  curl --fail-with-body --silent --show-error --retry 10 --retry-delay 5 --retry-connrefused \
    --user "$SETUP_USER:$(cat /credentials/password)" --header 'kbn-xsrf: true' "$@"
  echo
}
as_json='content-type: application/json'

ask --request PUT --header "$as_json" --data @/scripts/lifecycle.json "$ELASTICSEARCH_URL/_ilm/policy/rate-limit"
ask --request PUT --header "$as_json" --data @/scripts/index_template.json "$ELASTICSEARCH_URL/_index_template/rate-limit"
ask --header "$as_json" --data '{
    "override": true,
    "data_view": {
      "id": "rate-limit",
      "name": "Rate limits",
      "title": "rate-limit-*",
      "timeFieldName": "@timestamp"
    }
  }' "$KIBANA_URL/api/data_views/data_view"
ask --form file=@/scripts/searches.ndjson "$KIBANA_URL/api/saved_objects/_import?overwrite=true"

{{- /* Made by `make chart` from k8s/components/redis-cluster/rls.yaml: change it there. */ -}}
{{- define "rls.redis-cluster.env" }}
- name: RLS_BACKEND
  value: rediss+cluster://rls@redis-0.redis.rate-limit.svc.cluster.local:6379,redis-1.redis.rate-limit.svc.cluster.local:6379,redis-2.redis.rate-limit.svc.cluster.local:6379?password_file=/etc/rls/redis/password&ssl_ca_certs=/etc/rls/redis-tls/ca.crt&ssl_certfile=/etc/rls/redis-tls/tls.crt&ssl_keyfile=/etc/rls/redis-tls/tls.key
{{- end }}
{{- /* Made by `make chart` from k8s/components/redis-cluster/rls.yaml: change it there. */ -}}
{{- define "rls.redis-cluster.volumeMounts" }}
- name: redis
  mountPath: /etc/rls/redis
  readOnly: true
- name: redis-tls
  mountPath: /etc/rls/redis-tls
  readOnly: true
{{- end }}
{{- /* Made by `make chart` from k8s/components/redis-cluster/rls.yaml: change it there. */ -}}
{{- define "rls.redis-cluster.volumes" }}
- name: redis
  secret:
    secretName: redis-rls
    defaultMode: 288
- name: redis-tls
  secret:
    secretName: redis-client-tls
    defaultMode: 288
{{- end }}
{{- /* Made by `make chart` from k8s/components/opentelemetry-collector/rls.yaml: change it there. */ -}}
{{- define "rls.opentelemetry-collector.env" }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: http://opentelemetry-collector.monitoring.svc.cluster.local:4317
- name: OTEL_EXPORTER_OTLP_PROTOCOL
  value: grpc
- name: OTEL_SERVICE_NAME
  value: rls
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: OTEL_RESOURCE_ATTRIBUTES
  value: service.namespace=rate-limit,k8s.pod.name=$(POD_NAME)
{{- end }}

{{- /* The image of rls. It must be yours, since none is published yet. */ -}}
{{- define "rls.image" -}}
{{- if not .Values.image.repository }}
{{- fail "\n\nimage.repository is not set, and no image is published yet. Build one, push it, and name it:\n  make image IMAGE=registry.you.example/rls:0.1.0\n  helm … --set image.repository=registry.you.example/rls --set image.digest=sha256:…\n" }}
{{- end }}
{{- .Values.image.repository }}
{{- if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "rls.imagePullSecrets" }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
{{- end }}

{{- define "rls.env" }}
{{- if .Values.redisCluster.enabled }}
{{- include "rls.redis-cluster.env" . }}
{{- else if .Values.backend.url }}
- name: RLS_BACKEND
  value: {{ .Values.backend.url | quote }}
{{- end }}
{{- if .Values.openTelemetryCollector.enabled }}
{{- include "rls.opentelemetry-collector.env" . }}
{{- end }}
{{- range $name, $value := .Values.env }}
- name: {{ $name }}
  {{- /* Numbers of a file are floating-point: as text, 1000000 would be 1e+06. */}}
  value: {{ kindIs "string" $value | ternary $value (toJson $value) | quote }}
{{- end }}
{{- end }}

{{- define "rls.volumeMounts" }}
{{- if .Values.redisCluster.enabled }}
{{- include "rls.redis-cluster.volumeMounts" . }}
{{- end }}
{{- range .Values.secretMounts }}
- name: secret-{{ .secret }}
  mountPath: {{ .path | quote }}
  readOnly: true
{{- end }}
{{- end }}

{{- define "rls.volumes" }}
{{- if .Values.redisCluster.enabled }}
{{- include "rls.redis-cluster.volumes" . }}
{{- end }}
{{- range .Values.secretMounts }}
- name: secret-{{ .secret }}
  secret: { secretName: {{ .secret | quote }}, defaultMode: 0440 }
{{- end }}
{{- end }}

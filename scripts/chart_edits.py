"""What the Helm chart makes of the manifests: under which value each stands, and where a value takes the place of a text.

An edit is the text of the manifest, the text of the template, and how often it occurs. scripts/chart.py applies them.
"""

from __future__ import annotations

import re

SIDECAR, GATEWAY, WAYPOINT = (
    f'if and .Values.istio.enabled (eq .Values.istio.limitsAt "{place}")'
    for place in ("sidecar", "gateway", "waypoint")
)

FOLDERS = {
    "k8s/base": "",
    "k8s/components/ambient": "if and .Values.ambient.enabled .Values.networkPolicies.enabled",
    "k8s/components/alertmanager": "if .Values.alertmanager.enabled",
    "k8s/components/autoscaling": "if .Values.autoscaling.enabled",
    "k8s/components/autoscaling-by-lateness": "if .Values.autoscaling.byLateness",
    "k8s/components/backup": "if .Values.backup.enabled",
    "k8s/components/backup/job": "range $name, $backup := .Values.backup.enabled | ternary .Values.backup.schedules dict",
    "k8s/components/dashboards": "if or .Values.dashboards.enabled .Values.grafana.enabled",
    "k8s/components/grafana": "if .Values.grafana.enabled",
    "k8s/components/jaeger": "if .Values.jaeger.enabled",
    "k8s/components/logging": "if .Values.logging.enabled",
    "k8s/components/monitoring": "if .Values.monitoring.enabled",
    "k8s/components/network-policies": "if .Values.networkPolicies.enabled",
    "k8s/components/off-switch": "if .Values.rbac.offSwitch",
    "k8s/components/opentelemetry-collector": "if .Values.openTelemetryCollector.enabled",
    "k8s/components/prometheus": "if .Values.prometheus.enabled",
    "k8s/components/rbac": "if .Values.rbac.enabled",
    "k8s/components/redis-cluster": "if .Values.redisCluster.enabled",
    "k8s/components/user-service": "if .Values.userService.enabled",
    "k8s/alerts": "if .Values.prometheus.enabled",
    "examples/user-service": "if .Values.userService.enabled",
    "istio": "if .Values.istio.enabled",
    "istio/at-gateway": GATEWAY,
    "istio/waypoint": WAYPOINT,
    "istio/behind-load-balancer": "if and .Values.istio.enabled .Values.istio.trustedProxies",
}
"""The kustomizations that the chart is made of. Of each, the files that it names and the ConfigMaps that it generates."""

FILES = {
    "istio/envoyfilter.yaml": SIDECAR,
    "istio/envoyfilter-istio-1.27.yaml": SIDECAR,
    "istio/envoyfilter-optional-jwt.yaml": 'if and .Values.istio.enabled (ne .Values.istio.limitsAt "waypoint")',
}
"""Files that stand under another condition than their folder."""

COPIED = ("config/descriptors.yaml", "k8s/components/monitoring/prometheusrule.yaml")
"""What templates of the chart read as it is: the rules, and texts with a template language of their own."""

TEXTS = {"alertmanager.yaml": "alertmanager.config"}
"""Files of ConfigMaps that a value may replace."""

EVERYWHERE = [
    (re.compile(r"image: registry\.example\.com/\S+"), 'image: {{ include "rls.image" $ | quote }}'),
    (re.compile(r"failure_mode_deny: false"), "failure_mode_deny: {{ $.Values.istio.failClosed }}"),
    (
        re.compile(r"https://tokens\.example\.com/\.well-known/jwks\.json"),
        "{{ $.Values.istio.tokens.jwksUri | quote }}",
    ),
    (re.compile(r"https://tokens\.example\.com"), "{{ $.Values.istio.tokens.issuer | quote }}"),
    (re.compile(r"audiences: \[users\]"), "audiences: {{ toJson $.Values.istio.tokens.audiences }}"),
    (re.compile(r"\[users\.example\.com\]"), "[{{ $.Values.istio.host | quote }}]"),
    (re.compile(r"xff_num_trusted_hops: 1\b"), "xff_num_trusted_hops: {{ $.Values.istio.trustedProxies }}"),
    (
        re.compile(r"^( +)serviceAccountName: (?:rls|users|redis-keeper)$", re.MULTILINE),
        r'\1{{- include "rls.imagePullSecrets" $ | trim | nindent INDENT }}\n\g<0>',
    ),
]

MONITOR_LABELS = (
    "app.kubernetes.io/part-of: istio-rate-limiter }\nspec:",
    (
        "app.kubernetes.io/part-of: istio-rate-limiter"
        "{{ range $key, $value := .Values.monitoring.labels }}, {{ $key }}: {{ $value | quote }}{{ end }} }\nspec:"
    ),
)
SPANS = """\
{{- if .Values.openTelemetryCollector.enabled }}
    - to:
        - namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: monitoring } }
          podSelector: { matchLabels: { app.kubernetes.io/name: opentelemetry-collector } }
      ports:
        - { protocol: TCP, port: 4317 }
{{- end }}
"""

TRACING = """\
  {{- if $.Values.istio.tracing }}
  tracing:
    # The provider of values-istiod.yaml.
    - providers: [{ name: rls-traces }]
      randomSamplingPercentage: {{ $.Values.istio.tracing }}
  {{- end }}
"""
ACCESS_LOG = "    - providers: [{ name: rls-access-log }]\n"
KNOWN_HOSTS = "        - istio-system/*\n"
COLLECTOR = """\
        {{- if $.Values.istio.tracing }}
        - monitoring/opentelemetry-collector.monitoring.svc.cluster.local
        {{- end }}
"""

TO_THE_WAYPOINT = """\
  {{- if eq .Values.istio.limitsAt "waypoint" }}
  targetRefs: [{ group: gateway.networking.k8s.io, kind: Gateway, name: users-waypoint }]
  {{- end }}
"""

PATCHES = {
    "redis-cluster": "k8s/components/redis-cluster/rls.yaml",
    "opentelemetry-collector": "k8s/components/opentelemetry-collector/rls.yaml",
}
"""Patches of the Deployment of rls, of which templates are made that it includes."""

EDITS: dict[str, list[tuple[str, str, int]]] = {
    "k8s/base/deployment.yaml": [
        (
            '        sidecar.istio.io/inject: "true"\n',
            (
                "        sidecar.istio.io/inject: {{ not .Values.ambient.enabled | quote }}\n"
                "        {{- if .Values.ambient.enabled }}\n        istio.io/dataplane-mode: ambient\n        {{- end }}\n"
            ),
            1,
        ),
        (
            "  replicas: 1\n",
            "  {{- if not .Values.autoscaling.enabled }}\n  replicas: {{ int .Values.replicas }}\n  {{- end }}\n",
            1,
        ),
        (
            '"dns:rls-replicas.rate-limit.svc.cluster.local." }\n',
            '"dns:rls-replicas.rate-limit.svc.cluster.local." }\n            {{- include "rls.env" . | nindent 12 }}\n',
            1,
        ),
        (
            '            requests: { cpu: "1", memory: 1Gi }\n            limits: { cpu: "1", memory: 1Gi }\n',
            "            {{- toYaml .Values.resources | nindent 12 }}\n",
            1,
        ),
        (
            "            - { name: rules, mountPath: /etc/rls/rules, readOnly: true }\n",
            (
                "            - { name: rules, mountPath: /etc/rls/rules, readOnly: true }\n"
                '            {{- include "rls.volumeMounts" . | nindent 12 }}\n'
            ),
            1,
        ),
        (
            "          configMap: { name: rls-rules }\n",
            '          configMap: { name: rls-rules }\n        {{- include "rls.volumes" . | nindent 8 }}\n',
            1,
        ),
    ],
    "k8s/components/autoscaling/horizontalpodautoscaler.yaml": [
        ("minReplicas: 2", "minReplicas: {{ int .Values.autoscaling.minReplicas }}", 1),
        ("maxReplicas: 10", "maxReplicas: {{ int .Values.autoscaling.maxReplicas }}", 1),
        ("averageUtilization: 60", "averageUtilization: {{ int .Values.autoscaling.cpuPercent }}", 1),
        (
            "  behavior:\n",
            (
                "    {{- if .Values.autoscaling.byLateness }}\n"
                "    # Calls are shed when they would wait for a fifth of their timeout, 20 ms of 100 ms. This is the average of a minute.\n"
                "    - type: Pods\n"
                "      pods:\n"
                "        metric: { name: rls_loop_turn_mean_seconds }\n"
                "        target: { type: AverageValue, averageValue: 2m }\n"
                "    {{- end }}\n"
                "  behavior:\n"
            ),
            1,
        ),
    ],
    "k8s/components/backup/job/cronjob.yaml": [
        ("apiVersion: batch/v1\n", "---\napiVersion: batch/v1\n", 1),
        ("  name: redis-backup\n", "  name: redis-backup-{{ $name }}\n", 1),
        (
            '  schedule: "0 0 * * *"\n',
            "  schedule: {{ $backup.schedule | quote }}\n  {{- if $backup.suspend }}\n  suspend: true\n  {{- end }}\n",
            1,
        ),
        (
            "                - { name: XDG_CACHE_HOME, value: /tmp }\n",
            (
                "                - { name: ARCHIVE_FOLDER, value: {{ $name }} }\n"
                "                - { name: ARCHIVE_KEEP, value: {{ $backup.keep | quote }} }\n"
                "                - { name: XDG_CACHE_HOME, value: /tmp }\n"
            ),
            1,
        ),
        ("configMap: { name: redis-backup }", "configMap: { name: redis-backup-{{ $name }} }", 1),
    ],
    "k8s/components/logging/fluentd.yaml": [
        (
            "ELASTICSEARCH_HOST, value: elasticsearch.logging.svc.cluster.local }",
            "ELASTICSEARCH_HOST, value: {{ .Values.logging.elasticsearch.host | quote }} }",
            1,
        ),
        (
            'ELASTICSEARCH_PORT, value: "9200" }',
            "ELASTICSEARCH_PORT, value: {{ .Values.logging.elasticsearch.port | quote }} }",
            1,
        ),
    ],
    "k8s/components/logging/setup.yaml": [
        (
            '"https://elasticsearch.logging.svc.cluster.local:9200"',
            '"https://{{ .Values.logging.elasticsearch.host }}:{{ .Values.logging.elasticsearch.port }}"',
            1,
        ),
        ('"https://kibana.logging.svc.cluster.local:5601"', "{{ .Values.logging.kibana | quote }}", 1),
    ],
    "k8s/components/monitoring/istiod.yaml": [(*MONITOR_LABELS, 1)],
    "k8s/components/monitoring/podmonitor.yaml": [(*MONITOR_LABELS, 1)],
    "k8s/components/monitoring/servicemonitors.yaml": [(*MONITOR_LABELS, 3)],
    "k8s/components/network-policies/rls.yaml": [
        ("        - { protocol: TCP, port: 15012 }\n", "        - { protocol: TCP, port: 15012 }\n" + SPANS, 1)
    ],
    "k8s/components/network-policies/users.yaml": [
        ("        - { protocol: TCP, port: 15012 }\n", "        - { protocol: TCP, port: 15012 }\n" + SPANS, 1)
    ],
    "k8s/components/redis-cluster/statefulset.yaml": [
        (
            '            requests: { cpu: "2", memory: 2Gi }\n            limits: { cpu: "2", memory: 2Gi }\n',
            "            {{- toYaml .Values.redisCluster.resources | nindent 12 }}\n",
            1,
        ),
        (
            "        resources: { requests: { storage: 10Gi } }\n",
            (
                "        resources: { requests: { storage: {{ .Values.redisCluster.storage | quote }} } }\n"
                "        {{- with .Values.redisCluster.storageClassName }}\n        storageClassName: {{ . | quote }}\n        {{- end }}\n"
            ),
            1,
        ),
        (
            """\
          preferredDuringSchedulingIgnoredDuringExecution:
            - weight: 100
              podAffinityTerm:
                topologyKey: kubernetes.io/hostname
                labelSelector: { matchLabels: { app.kubernetes.io/name: redis } }
""",
            """\
          {{- if .Values.redisCluster.eachOnItsOwnMachine }}
          requiredDuringSchedulingIgnoredDuringExecution:
            - topologyKey: kubernetes.io/hostname
              labelSelector: { matchLabels: { app.kubernetes.io/name: redis } }
          {{- else }}
          preferredDuringSchedulingIgnoredDuringExecution:
            - weight: 100
              podAffinityTerm:
                topologyKey: kubernetes.io/hostname
                labelSelector: { matchLabels: { app.kubernetes.io/name: redis } }
          {{- end }}
""",
            1,
        ),
    ],
    "k8s/components/user-service/users.yaml": [
        (
            "apiVersion: policy/v1\nkind: PodDisruptionBudget",
            "{{- if gt (int .Values.userService.replicas) 1 }}\napiVersion: policy/v1\nkind: PodDisruptionBudget",
            1,
        ),
        ("---\napiVersion: apps/v1\n", "{{- end }}\n---\napiVersion: apps/v1\n", 1),
        ("  replicas: 2\n", "  replicas: {{ int .Values.userService.replicas }}\n", 1),
        (
            "            requests: { cpu: 500m, memory: 512Mi }\n            limits: { cpu: 500m, memory: 512Mi }\n",
            "            {{- toYaml .Values.userService.resources | nindent 12 }}\n",
            1,
        ),
        (
            "      annotations:\n        proxy.istio.io/config:",
            (
                "      annotations:\n"
                '        checksum/config: {{ (.Files.Glob "files/user-service/*").AsConfig | sha256sum }}\n'
                "        proxy.istio.io/config:"
            ),
            1,
        ),
    ],
    "istio/authorizationpolicy.yaml": [
        (
            "principals: [cluster.local/ns/istio-ingress/sa/istio-ingress]",
            'principals: [cluster.local/ns/{{ ternary "users/sa/users-waypoint" "istio-ingress/sa/istio-ingress" (eq .Values.istio.limitsAt "waypoint") }}]',
            1,
        ),
        ("  action: DENY\n", TO_THE_WAYPOINT + "  action: DENY\n", 1),
    ],
    "istio/requestauthentication.yaml": [("  jwtRules:\n", TO_THE_WAYPOINT + "  jwtRules:\n", 1)],
    "istio/sidecar.yaml": [(KNOWN_HOSTS, KNOWN_HOSTS + COLLECTOR, 2)],
    "istio/telemetry.yaml": [(ACCESS_LOG, ACCESS_LOG + TRACING, 2)],
    "istio/gateway.yaml": [
        ("credentialName: users-example-com", "credentialName: {{ .Values.istio.credentialName | quote }}", 1)
    ],
}

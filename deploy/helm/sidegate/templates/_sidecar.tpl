{{- /*
What the API's chart includes in its pod template; deploy/example/chart shows where. They are called with the context of either
chart: the values are `.Values` here, `.Values.sidegate` there.
*/ -}}

{{- define "sidegate.name" -}}
{{ .Release.Name | trunc 54 | trimSuffix "-" }}-sidegate
{{- end }}

{{- /* What NetworkPolicy and PodMonitor choose by: for the pod template's labels. */ -}}
{{- define "sidegate.labels" -}}
auth: sidegate
auth-release: {{ .Release.Name }}
{{- end }}

{{- /* An entry of initContainers: a native sidecar, which starts before the API and ends after it. */ -}}
{{- define "sidegate.container" -}}
{{- $values := .Values.sidegate | default .Values }}
{{- $image := $values.image }}
- name: sidegate
  image: {{ if $image.digest }}{{ $image.repository }}@{{ $image.digest }}{{ else }}{{ $image.repository }}:{{ $image.tag | default "0.1.0" }}{{ end }}
  {{- with $image.pullPolicy }}
  imagePullPolicy: {{ . }}
  {{- end }}
  restartPolicy: Always
  ports:
    - { name: sidegate, containerPort: {{ $values.ports.public }} }
    - { name: sidegate-ops, containerPort: {{ $values.ports.ops }} }
  {{- with $values.env }}
  env:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  # The API starts after this has succeeded: it must ask neither the API nor the key table.
  startupProbe:
    httpGet: { path: /livez, port: sidegate-ops }
    periodSeconds: 1
    failureThreshold: 30
  readinessProbe:
    httpGet: { path: /readyz, port: sidegate-ops }
    periodSeconds: 2
    failureThreshold: 2
  livenessProbe:
    httpGet: { path: /livez, port: sidegate-ops }
    periodSeconds: 10
    timeoutSeconds: 5
  lifecycle:
    preStop:
      exec: { command: [/sidegate, drain, --wait] }
  resources:
    {{- toYaml $values.resources | nindent 4 }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    readOnlyRootFilesystem: true
    allowPrivilegeEscalation: false
    capabilities: { drop: [ALL] }
    seccompProfile: { type: RuntimeDefault }
  volumeMounts:
    - { name: sidegate-config, mountPath: /etc/sidegate, readOnly: true }
    {{- if $values.secretName }}
    - { name: sidegate-secrets, mountPath: /run/secrets/sidegate, readOnly: true }
    {{- end }}
    - { name: sidegate-run, mountPath: /run/sidegate }
    - { name: sidegate-tmp, mountPath: /tmp }
{{- end }}

{{- /* Entries of volumes. */ -}}
{{- define "sidegate.volumes" -}}
{{- $values := .Values.sidegate | default .Values }}
- name: sidegate-config
  configMap: { name: {{ include "sidegate.name" . }} }
{{- if $values.secretName }}
- name: sidegate-secrets
  secret: { secretName: {{ $values.secretName }} }
{{- end }}
# The control socket, and [cache] snapshot_file.
- name: sidegate-run
  emptyDir: { sizeLimit: 256Mi }
# `keys import`: 600 bytes a key.
- name: sidegate-tmp
  emptyDir: { sizeLimit: 1Gi }
{{- end }}

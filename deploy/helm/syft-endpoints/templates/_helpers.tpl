{{/* The name of what the chart makes: the release's, with the chart's unless it is in there. */}}
{{- define "syft-endpoints.name" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 57 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- /* Room for the suffixes of the 63 characters that a name may have. */ -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 57 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "syft-endpoints.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "syft-endpoints.labels" -}}
{{ include "syft-endpoints.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: syft-space
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "syft-endpoints.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end }}

{{- define "syft-endpoints.serviceAccount" -}}
{{- $made := ternary (include "syft-endpoints.name" .) "default" .Values.serviceAccount.create -}}
{{- default $made .Values.serviceAccount.name -}}
{{- end }}

{{- define "syft-endpoints.secret" -}}
{{- default (include "syft-endpoints.name" .) .Values.existingSecret -}}
{{- end }}

{{/* How the kubelet asks for health. */}}
{{- define "syft-endpoints.health" -}}
{{- $folder := "/etc/syft-endpoints/tls" -}}
{{- if not .Values.tls.secretName -}}
grpc:
  port: 8080
{{- else if eq .Values.tls.probes "grpc" -}}
grpc:
  port: 8080
  mode: TLS
{{- else if eq .Values.tls.probes "tcp" -}}
tcpSocket:
  port: grpc
{{- else -}}
exec:
  command:
    - /usr/local/bin/syft-endpoints
    - check
    - --server=https://127.0.0.1:8080
    - --server-name={{ required "set tls.serverName, a name in the certificate: probes ask under it" .Values.tls.serverName }}
    - --ca={{ $folder }}/ca.crt
    - --timeout=2
    {{- if .Values.tls.clientCa }}
    - --certificate={{ $folder }}/tls.crt
    - --certificate-key={{ $folder }}/tls.key
    {{- end }}
{{- end -}}
{{- end }}

{{/* Outside Kubernetes' restricted profile nothing here would start. */}}
{{- define "syft-endpoints.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "syft-endpoints.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

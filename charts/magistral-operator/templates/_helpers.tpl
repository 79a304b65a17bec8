{{- define "magistral.name" -}}
{{- printf "%s" .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "magistral.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "magistral.name" .) -}}
{{- end -}}

{{- define "magistral.selector" -}}
app.kubernetes.io/name: magistral-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "magistral.labels" -}}
{{ include "magistral.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "magistral.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

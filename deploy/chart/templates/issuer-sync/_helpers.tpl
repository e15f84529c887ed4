{{/*
Names of the ConfigMaps of the release's namespace that issuers' documents and
state are in, as a YAML list. Call it with the root.
*/}}
{{- define "issuer-sync.configMaps" -}}
{{- $names := list }}
{{- range .Values.issuerSync.issuers }}
{{- range append (.stores | default list) (.state | default dict) }}
{{- with .configMap }}
{{- if and (eq .namespace $.Release.Namespace) (not .kubeconfig) }}
{{- $names = append $names .name }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- $names | uniq | sortAlpha | toYaml }}
{{- end }}

{{/*
ServiceAccounts of the release's namespace whose tokens show which key signs, as
a YAML list: its own for each source that is the cluster it runs in and names
none. Call it with the root.
*/}}
{{- define "issuer-sync.tokenAccounts" -}}
{{- $names := list }}
{{- range .Values.issuerSync.issuers }}
{{- range .sources }}
{{- if and (hasKey . "cluster") (not (dig "kubeconfig" "" (.cluster | default dict))) }}
{{- $account := dig "serviceAccount" "" (.cluster | default dict) | default (printf "%s/issuer-sync" $.Release.Namespace) }}
{{- if hasPrefix (printf "%s/" $.Release.Namespace) $account }}
{{- $names = append $names (splitList "/" $account | last) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- $names | uniq | sortAlpha | toYaml }}
{{- end }}

{{/* "true" if a source is the cluster that it runs in. Call it with the root. */}}
{{- define "issuer-sync.readsCluster" -}}
{{- range .Values.issuerSync.issuers }}
{{- range .sources }}
{{- if and (hasKey . "cluster") (not (dig "kubeconfig" "" (.cluster | default dict))) }}true{{ end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Its server's port. Call it with the root. */}}
{{- define "issuer-sync.servePort" -}}
{{- ternary 8443 8080 (not (empty .Values.issuerSync.serve.tls.secretName)) }}
{{- end }}

{{/* issuer-sync.yaml. Call it with the root. */}}
{{- define "issuer-sync.configuration" -}}
{{- with .Values.issuerSync -}}
issuers: {{- toYaml .issuers | nindent 2 }}
serve:
  {{- if .serve.enabled }}
  address: {{ printf ":%s" (include "issuer-sync.servePort" $) | quote }}
  {{- if .serve.tls.secretName }}
  tls: {certFile: /tls/tls.crt, keyFile: /tls/tls.key}
  {{- end }}
  {{- end }}
  maxAge: {{ .serve.maxAge }}
admin: {address: ":8081"}
leaderElection: {enabled: {{ .leaderElection }}, namespace: {{ $.Release.Namespace }}, name: issuer-sync}
log: {level: {{ .logLevel }}, format: {{ .logFormat }}}
{{- end }}
{{- end }}

{{/*
The issuers as a YAML list, each with a store: one that has none gets a ConfigMap
here, which all replicas serve from. Its name is of the URL, so that it is the
same wherever the issuer stands in the list. Call it with the root.
*/}}
{{- define "issuer-sync.issuers" -}}
{{- $issuers := list }}
{{- range .Values.issuerSync.issuers }}
{{- $name := printf "issuer-sync-documents-%s" (.url | sha256sum | trunc 8) }}
{{- $own := dict "configMap" (dict "namespace" $.Release.Namespace "name" $name) }}
{{- $issuers = append $issuers (set (deepCopy .) "stores" (.stores | default (list $own))) }}
{{- end }}
{{- toYaml $issuers }}
{{- end }}

{{/*
Names of the ConfigMaps of the release's namespace that issuers' documents and
state are in, as a YAML list. Call it with the root.
*/}}
{{- define "issuer-sync.configMaps" -}}
{{- $names := list }}
{{- range include "issuer-sync.issuers" . | fromYamlArray }}
{{- range append .stores (.state | default dict) }}
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

{{/*
The Service's port. Plain HTTP is not at 443: ingress controllers (Traefik is one)
take that for HTTPS. Call it with the root.
*/}}
{{- define "issuer-sync.servicePort" -}}
{{- .Values.issuerSync.service.port | default (ternary 443 80 (not (empty .Values.issuerSync.serve.tls.secretName))) }}
{{- end }}

{{/* issuer-sync.yaml. Call it with the root. */}}
{{- define "issuer-sync.configuration" -}}
{{- with .Values.issuerSync -}}
issuers: {{- include "issuer-sync.issuers" $ | nindent 2 }}
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

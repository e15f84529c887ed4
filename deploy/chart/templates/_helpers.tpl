{{/* Labels of all objects. Call it with the root. */}}
{{- define "issuer-sync.labels" -}}
app.kubernetes.io/part-of: issuer-sync
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* The reference of an image. Call it with root, image (values) and name (its last part). */}}
{{- define "issuer-sync.image" -}}
{{- $repository := .image.repository | default (printf "%s/%s" (.root.Values.imageRepository | default "" | trimSuffix "/") .name) }}
{{- if .image.digest }}
{{- printf "%s@%s" $repository .image.digest }}
{{- else }}
{{- printf "%s:%s" $repository (coalesce .image.release .root.Values.image.release .root.Chart.AppVersion) }}
{{- end }}
{{- end }}

{{/*
Four fifths of a memory limit, as GOMEMLIMIT: near it the garbage collector works
harder, before the kernel would end the process. Nothing for a limit in other
units. Call it with resources.
*/}}
{{- define "issuer-sync.goMemLimit" -}}
{{- $limit := dig "memory" "" ((. | default dict).limits | default dict) | toString }}
{{- if regexMatch "^[0-9]+Mi$" $limit }}
{{- printf "%dMiB" (div (mul 4 (trimSuffix "Mi" $limit | int64)) 5) }}
{{- else if regexMatch "^[0-9]+Gi$" $limit }}
{{- printf "%dMiB" (div (mul 4096 (trimSuffix "Gi" $limit | int64)) 5) }}
{{- end }}
{{- end }}

{{/*
"true" if a budget lets no pod go, so that a node cannot be drained. Call it with
budget and replicas.
*/}}
{{- define "issuer-sync.undrainable" -}}
{{- $replicas := int .replicas }}
{{- $least := toString .budget.minAvailable }}
{{- $needed := trimSuffix "%" $least | int }}
{{- if hasSuffix "%" $least }}
{{- $needed = div (mul $needed $replicas | add 99) 100 | int }}
{{- end }}
{{- $most := toString .budget.maxUnavailable }}
{{- if and (gt $replicas 0) (or (has $most (list "0" "0%")) (and (not (kindIs "invalid" .budget.minAvailable)) (ge $needed $replicas))) }}true{{ end }}
{{- end }}

{{/* Security of our pods: PodSecurity restricted. */}}
{{- define "issuer-sync.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "issuer-sync.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* What client-go looks for inside a cluster: the usual volume, but for an hour. */}}
{{- define "issuer-sync.apiAccess" -}}
- name: kube-api-access
  projected:
    sources:
      - serviceAccountToken: {path: token, expirationSeconds: 3600}
      - configMap:
          name: kube-root-ca.crt
          items: [{key: ca.crt, path: ca.crt}]
      - downwardAPI:
          items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]
{{- end }}

{{- define "issuer-sync.apiAccessMount" -}}
- name: kube-api-access
  mountPath: /var/run/secrets/kubernetes.io/serviceaccount
  readOnly: true
{{- end }}

{{/*
Where pods go. Call it with values (those of one part) and name (that of its
pods). Without constraints of the user's: not DoNotSchedule, as all replicas must
run on a cluster of one node, too.
*/}}
{{- define "issuer-sync.scheduling" -}}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
{{- with .values.topologySpreadConstraints }}
{{- toYaml . | nindent 2 }}
{{- else }}
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        app.kubernetes.io/name: {{ $.name }}
{{- end }}
{{- end }}
{{- end }}

{{/* "true" if there is an issuer to publish. Call it with the root. */}}
{{- define "issuer-sync.publishes" -}}
{{- if and .Values.issuerSync.enabled .Values.issuerSync.issuers }}true{{ end }}
{{- end }}

{{/* The webhook's audience: the one set, or that of the cloud. Call it with the root. */}}
{{- define "issuer-sync.audience" -}}
{{- $clouds := dict "azureusgovernmentcloud" "USGov" "azurechinacloud" "China" }}
{{- .Values.audience | default (printf "api://AzureADTokenExchange%s" (get $clouds (lower .Values.azureEnvironment))) }}
{{- end }}

{{/*
Pods that the webhook, and what asserts its work, look at. Its own and those of
the control plane start without it, whatever their labels. Call it with the root.
*/}}
{{- define "issuer-sync.podSelectors" -}}
objectSelector:
  matchLabels:
    azure.workload.identity/use: "true"
namespaceSelector:
  {{- with .Values.mutatingWebhookNamespaceSelector.matchLabels }}
  matchLabels: {{- toYaml . | nindent 4 }}
  {{- end }}
  matchExpressions:
    - key: kubernetes.io/metadata.name
      operator: NotIn
      values: {{ list .Release.Namespace "kube-system" | uniq | toJson }}
    {{- with .Values.mutatingWebhookNamespaceSelector.matchExpressions }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

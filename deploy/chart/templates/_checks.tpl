{{/*
What values.schema.json cannot say, or not in words that help. No other template
fails, so the first mistake told is always the same. Call it with the root; it
says nothing if all is well.
*/}}
{{- define "issuer-sync.checks" -}}
{{- if .Values.webhook.enabled }}
{{- include "issuer-sync.webhookChecks" . }}
{{- end }}
{{- if include "issuer-sync.publishes" . }}
{{- include "issuer-sync.imageCheck" (dict "root" . "image" .Values.issuerSync.image "value" "issuerSync.image") }}
{{- include "issuer-sync.budgetCheck" (dict "budget" .Values.issuerSync.podDisruptionBudget "value" "issuerSync.podDisruptionBudget") }}
{{- include "issuer-sync.issuerChecks" . }}
{{- if and .Values.issuerSync.ingress.enabled (not .Values.issuerSync.serve.enabled) }}
{{- fail "issuerSync.ingress.enabled is true, and issuerSync.serve.enabled false; an ingress needs the server, so want both or no ingress" }}
{{- end }}
{{- end }}
{{- end }}

{{/* What cmd/issuer-sync refuses, too, but in a pod. Call it with the root. */}}
{{- define "issuer-sync.issuerChecks" -}}
{{- $urls := list }}
{{- $paths := list }}
{{- $places := list }}
{{- range $i, $issuer := .Values.issuerSync.issuers }}
{{- $at := printf "issuerSync.issuers[%d]" $i }}
{{- if has .url $urls }}
{{- fail (printf "%s.url is that of another issuer, %s; want each issuer once" $at .url) }}
{{- end }}
{{- $urls = append $urls .url }}
{{- $path := trimSuffix "/" (urlParse .url).path }}
{{- if and (has $path $paths) $.Values.issuerSync.serve.enabled }}
{{- fail (printf "%s.url has the path %q, as another issuer, and one server cannot tell them apart; want another path, or issuerSync.serve.enabled=false" $at $path) }}
{{- end }}
{{- $paths = append $paths $path }}
{{- if not (or .stores $.Values.issuerSync.serve.enabled) }}
{{- fail (printf "%s has no stores, and issuerSync.serve.enabled is false, so nobody could read its documents; want one of them" $at) }}
{{- end }}
{{- range append (.stores | default list) (.state | default dict) }}
{{- $place := include "issuer-sync.place" . }}
{{- if and $place (has $place $places) }}
{{- fail (printf "%s has the %s, which is in use already; want each store once" $at $place) }}
{{- end }}
{{- $places = append $places $place }}
{{- end }}
{{- end }}
{{- if has "kube-root-ca.crt" (include "issuer-sync.configMaps" . | fromYamlArray) }}
{{- fail "issuerSync.issuers: the configMap store \"kube-root-ca.crt\" has the name of another ConfigMap in this namespace; want a name of its own" }}
{{- end }}
{{- end }}

{{/* The same words for stores in the same place. Call it with a store. */}}
{{- define "issuer-sync.place" -}}
{{- with .azureBlob }}{{ printf "azureBlob %s" (trimSuffix "/" .url) }}{{ end }}
{{- with .directory }}{{ printf "directory %s" (clean .path) }}{{ end }}
{{- with .configMap }}{{ list "configMap" .kubeconfig .context (printf "%s/%s" .namespace .name) | compact | join " " }}{{ end }}
{{- end }}

{{- define "issuer-sync.webhookChecks" -}}
{{- if not .Values.azureTenantID }}
{{- fail "azureTenantID is empty; want the tenant's GUID or one of its domain names, such as contoso.onmicrosoft.com (or webhook.enabled=false)" }}
{{- end }}
{{- include "issuer-sync.imageCheck" (dict "root" . "image" .Values.image "value" "image") }}
{{- if .Values.proxy.enabled }}
{{- include "issuer-sync.imageCheck" (dict "root" . "image" .Values.proxy.image "value" "proxy.image") }}
{{- end }}
{{- if and (eq .Values.certificates.mode "secret") (not .Values.certificates.secretName) }}
{{- fail "certificates.secretName is empty; with certificates.mode secret want the name of a Secret of type kubernetes.io/tls" }}
{{- end }}
{{- if and (ne .Values.certificates.mode "secret") .Values.certificates.caBundle }}
{{- fail (printf "certificates.caBundle is set; with certificates.mode %s it is written by others, so want it empty, or mode secret" .Values.certificates.mode) }}
{{- end }}
{{- if and (eq .Values.certificates.mode "self") .Values.certificates.secretName }}
{{- fail "certificates.secretName is set; with certificates.mode self the Secret is issuer-sync-webhook-cert, so want it empty, or mode secret or certManager" }}
{{- end }}
{{- if and .Values.assertInjection.enabled (semverCompare "<1.30.0-0" .Capabilities.KubeVersion.Version) }}
{{- fail (printf "assertInjection.enabled is true, and Kubernetes is %s; ValidatingAdmissionPolicies need 1.30 or newer" .Capabilities.KubeVersion.Version) }}
{{- end }}
{{- include "issuer-sync.budgetCheck" (dict "budget" .Values.podDisruptionBudget "value" "podDisruptionBudget") }}
{{- $metrics := splitList ":" .Values.metricsAddr | last | int }}
{{- if has (int .Values.service.targetPort) (list 9440 $metrics) }}
{{- fail (printf "service.targetPort %v is in use: 9440 is for health, and metricsAddr is %q; want another port" .Values.service.targetPort .Values.metricsAddr) }}
{{- end }}
{{- if eq $metrics 9440 }}
{{- fail (printf "metricsAddr %q has the port for health, 9440; want another port" .Values.metricsAddr) }}
{{- end }}
{{- $endpoint := .Values.customTokenEndpoint }}
{{- $set := list $endpoint.annotationSuffix $endpoint.audience $endpoint.azureKubernetesTokenProxy | compact | len }}
{{- if and (gt $set 0) (lt $set 3) }}
{{- fail "customTokenEndpoint is incomplete; want all of annotationSuffix, audience and azureKubernetesTokenProxy, or none" }}
{{- end }}
{{- if and $set (gt (list $endpoint.azureKubernetesCaData $endpoint.azureKubernetesCAConfigMapName $endpoint.azureKubernetesCACTBSignerName | compact | len) 1) }}
{{- fail "customTokenEndpoint has its CA more than once; want one of azureKubernetesCaData, azureKubernetesCAConfigMapName and azureKubernetesCACTBSignerName" }}
{{- end }}
{{- if and $set $endpoint.azureKubernetesCACTBLabelSelector (not $endpoint.azureKubernetesCACTBSignerName) }}
{{- fail "customTokenEndpoint.azureKubernetesCACTBLabelSelector is set without azureKubernetesCACTBSignerName; want both" }}
{{- end }}
{{- if and $set (eq (lower $endpoint.audience) (include "issuer-sync.audience" . | lower)) }}
{{- fail (printf "customTokenEndpoint.audience %q is that of the tokens for Azure; want another one" $endpoint.audience) }}
{{- end }}
{{- end }}

{{/* Call it with budget (values) and value (their path). */}}
{{- define "issuer-sync.budgetCheck" -}}
{{- $least := not (kindIs "invalid" .budget.minAvailable) }}
{{- $most := not (kindIs "invalid" .budget.maxUnavailable) }}
{{- if eq $least $most }}
{{- fail (printf "%s has %s minAvailable and maxUnavailable; want one of them: set the other one to null" .value (ternary "both" "neither of" $least)) }}
{{- end }}
{{- end }}

{{/*
A name without a registry would be anybody's who registers it at docker.io, so
there is no default. Call it with root, image (values) and value (their path).
*/}}
{{- define "issuer-sync.imageCheck" -}}
{{- if not (or .image.repository .root.Values.imageRepository) }}
{{- fail (printf "imageRepository is empty, and so is %s.repository; want the registry and path of the images, such as registry.example/issuer-sync" .value) }}
{{- end }}
{{- end }}

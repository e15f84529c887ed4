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
{{- range include "issuer-sync.configMaps" . | fromYamlArray }}
{{- if has . (list "issuer-sync-settings" "issuer-sync-webhook-settings" "kube-root-ca.crt") }}
{{- fail (printf "issuerSync.issuers: the configMap store %q has the name of another ConfigMap in this namespace; want a name of its own" .) }}
{{- end }}
{{- end }}
{{- if and .Values.issuerSync.ingress.enabled (not .Values.issuerSync.serve.enabled) }}
{{- fail "issuerSync.ingress.enabled is true, and issuerSync.serve.enabled false; an ingress needs the server, so want both or no ingress" }}
{{- end }}
{{- end }}
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
{{- $endpoint := .Values.customTokenEndpoint }}
{{- $set := list $endpoint.annotationSuffix $endpoint.audience $endpoint.azureKubernetesTokenProxy | compact | len }}
{{- if and (gt $set 0) (lt $set 3) }}
{{- fail "customTokenEndpoint is incomplete; want all of annotationSuffix, audience and azureKubernetesTokenProxy, or none" }}
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

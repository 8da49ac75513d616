// casevault on Azure: everything in one resource group. The guide is docs/deployment.md.
//
// It is deployed twice. First without `image`: network, stores, vault, database, registry, identities. Then an administrator
// runs database.sql and `casevault init`, and puts the certificate and the witness's credentials into the vault. Then with
// `image`: the API and the clock.
//
// It was read by a parser and compared with the program (tests/deploy); no Bicep compiler and no subscription was at hand.

targetScope = 'resourceGroup'

@description('Begins every name.')
@minLength(3)
@maxLength(10)
param prefix string = 'casevault'

@description('Region of everything. It must have availability zones, Container Apps and Functions Flex Consumption.')
param location string = resourceGroup().location

@description('Object id of the Entra group whose members administer: `casevault init`, certificates, rotation, the database.')
param administratorsId string

@description('Display name of that group; it is the group\'s role name in PostgreSQL.')
param administratorsName string

@description('IPv4 addresses that may reach vault, stores, database and publishing from outside. Empty: private endpoints alone.')
param administratorAddresses array = []

@description('The API\'s image, by digest: <registry>.azurecr.io/casevault@sha256:... Empty in the first deployment.')
param image string = ''

@description('Host name under which senders find the Blob endpoint; it and the API\'s are in the certificate.')
param blobHost string

@description('Where callers find the API, e.g. https://casevault.example.com:8443: for absolute addresses in its responses. Empty: paths.')
param apiOrigin string = ''

@description('Origins of pages that may send uploads, comma separated, e.g. https://portal.example.com. Empty: none.')
param uploadOrigins string = ''

@description('The server that takes mail with notices, by STARTTLS on port 587. Empty: no notice goes by mail.')
param smtpHost string = ''

@description('The sender of these mails, e.g. casevault@example.com. Required with smtpHost.')
param smtpSender string = ''

@description('The user to sign in there as; the password is the secret casevault-smtp-password of the vault. Empty: no sign-in.')
param smtpUser string = ''

@description('The OpenID Connect issuer. Entra: https://login.microsoftonline.com/<tenant id>/v2.0')
param issuer string

@description('Audiences of access tokens for the API, comma separated; of nothing else. Entra: the id of the API\'s own application, never a client\'s.')
param audience string

@description('Claim that holds a customer\'s directory. Entra\'s tid is always the issuer\'s own: see the guide.')
param directoryClaim string = 'tid'

@description('required: a stamp\'s token names its customer. optional: where the issuer cannot; see the guide.')
@allowed(['required', 'optional'])
param stampDirectory string = 'required'

@description('Claim that holds a partner engineer\'s company.')
param partnerClaim string = 'partner'

@description('The audit log\'s name in every checkpoint. It can never be changed.')
param logOrigin string

@description('The log\'s public key, as `casevault init` prints it: the API holds no other. Needed with `image`.')
param logVerifier string = ''

@description('The receipts\' public key, as `casevault init` prints it.')
param receiptVerifier string = ''

@description('S3 bucket with Object Lock, in another cloud under another owner.')
param witnessBucket string

@description('Region of the bucket.')
param witnessRegion string

@description('https address of the bucket\'s store. Empty: AWS.')
param witnessEndpoint string = ''

@description('Days for which the bucket locks what it keeps.')
@minValue(1)
param witnessDays int = 365

@description('https address of an OpenTelemetry collector that takes traces and metrics. Empty: none are sent.')
param otlpEndpoint string = ''

@description('Log Analytics workspace, owned by somebody else, that learns who used the key (threat model, N2). Empty: our own.')
param auditWorkspaceId string = ''

@description('premium: the key-encryption key is in a hardware module.')
@allowed(['premium', 'standard'])
param vaultSku string = 'premium'

@description('https address of an AES key in a Managed HSM, without a version. Empty: the RSA key that is made here.')
param managedHsmKeyUrl string = ''

@description('Redundancy of bundles and data keys. Not one with a second region: see the guide on failing regions.')
@allowed(['Standard_ZRS', 'Standard_LRS'])
param storageSku string = 'Standard_ZRS'

@description('Name of the database server. After a restore: the new server\'s.')
param databaseServer string = '${prefix}-${uniqueString(resourceGroup().id)}'

@description('Size of the database server.')
param databaseSku string = 'Standard_D2ds_v5'

@description('A standby in another zone.')
param databaseStandby bool = true

@description('Days for which the database can be restored. What was redacted stays in backups as long (P7).')
@minValue(7)
@maxValue(35)
param databaseBackupDays int = 7

@description('Replicas of the API: at least, at most.')
@minValue(2)
param minReplicas int = 2

@minValue(2)
@maxValue(10)
param maxReplicas int = 6

var suffix = uniqueString(resourceGroup().id)
var auditWorkspace = empty(auditWorkspaceId) ? monitoring.outputs.workspaceId : auditWorkspaceId

module identities 'modules/identities.bicep' = {
  name: 'identities'
  params: {
    prefix: prefix
    location: location
  }
}

module network 'modules/network.bicep' = {
  name: 'network'
  params: {
    prefix: prefix
    location: location
  }
}

module monitoring 'modules/monitoring.bicep' = {
  name: 'monitoring'
  params: {
    prefix: prefix
    location: location
    publishers: [identities.outputs.clockPrincipalId]
  }
}

module bundles 'modules/bundle-storage.bicep' = {
  name: 'bundle-storage'
  params: {
    name: '${prefix}b${suffix}'
    location: location
    sku: storageSku
    addresses: administratorAddresses
    apiId: identities.outputs.apiPrincipalId
    clockId: identities.outputs.clockPrincipalId
    administratorsId: administratorsId
    workspaceId: auditWorkspace
    endpointSubnetId: network.outputs.endpointSubnetId
    blobZoneId: network.outputs.blobZoneId
  }
}

module host 'modules/host-storage.bicep' = {
  name: 'host-storage'
  params: {
    name: '${prefix}h${suffix}'
    location: location
    addresses: administratorAddresses
    clockPrincipalId: identities.outputs.clockPrincipalId
    endpointSubnetId: network.outputs.endpointSubnetId
    blobZoneId: network.outputs.blobZoneId
    queueZoneId: network.outputs.queueZoneId
    tableZoneId: network.outputs.tableZoneId
  }
}

module keyVault 'modules/vault.bicep' = {
  name: 'key-vault'
  params: {
    name: '${prefix}k${suffix}'
    location: location
    sku: vaultSku
    addresses: administratorAddresses
    administratorsId: administratorsId
    officers: []
    workspaceId: auditWorkspace
    endpointSubnetId: network.outputs.endpointSubnetId
    vaultZoneId: network.outputs.vaultZoneId
  }
}

module key 'modules/key.bicep' = {
  name: 'key'
  params: {
    vaultName: keyVault.outputs.name
    sku: vaultSku
    services: [identities.outputs.apiPrincipalId, identities.outputs.clockPrincipalId]
    administratorsId: administratorsId
  }
}

// Signing seeds, the certificate, the witness's credentials.
module secrets 'modules/vault.bicep' = {
  name: 'secrets'
  params: {
    name: '${prefix}s${suffix}'
    location: location
    sku: 'standard'
    addresses: administratorAddresses
    administratorsId: administratorsId
    officers: ['Key Vault Secrets Officer', 'Key Vault Certificates Officer']
    workspaceId: auditWorkspace
    endpointSubnetId: network.outputs.endpointSubnetId
    vaultZoneId: network.outputs.vaultZoneId
  }
}

module database 'modules/database.bicep' = {
  name: 'database'
  params: {
    name: databaseServer
    location: location
    sku: databaseSku
    standby: databaseStandby
    backupDays: databaseBackupDays
    addresses: administratorAddresses
    administratorsId: administratorsId
    administratorsName: administratorsName
    endpointSubnetId: network.outputs.endpointSubnetId
    postgresZoneId: network.outputs.postgresZoneId
  }
}

module registry 'modules/registry.bicep' = {
  name: 'registry'
  params: {
    name: '${prefix}${suffix}'
    location: location
    pullers: [identities.outputs.apiPrincipalId]
  }
}

// What both doors to custody are configured with: one list, so that they cannot differ.
var custody = union(empty(otlpEndpoint) ? {} : { OTEL_EXPORTER_OTLP_ENDPOINT: otlpEndpoint }, {
  CASEVAULT_BLOB_ACCOUNT_URL: bundles.outputs.url
  CASEVAULT_BLOB_CONTAINER: bundles.outputs.bundleContainer
  CASEVAULT_DATA_KEY_CONTAINER: bundles.outputs.dataKeyContainer
  CASEVAULT_LOG_CONTAINER: bundles.outputs.logContainer
  CASEVAULT_KEY_URL: empty(managedHsmKeyUrl) ? key.outputs.url : managedHsmKeyUrl
  CASEVAULT_SIGNING_VAULT_URL: secrets.outputs.url
  CASEVAULT_DATABASE_IDENTITY: 'entra'
  CASEVAULT_DATABASE_CONNECTIONS: '8'
  CASEVAULT_LOG_ORIGIN: logOrigin
  CASEVAULT_STAMP_DIRECTORY: stampDirectory
  CASEVAULT_WITNESS_BUCKET: witnessBucket
  CASEVAULT_WITNESS_ENDPOINT: witnessEndpoint
  CASEVAULT_WITNESS_DAYS: string(witnessDays)
  AWS_DEFAULT_REGION: witnessRegion
})

module api 'modules/api.bicep' = if (!empty(image)) {
  name: 'api'
  params: {
    prefix: prefix
    location: location
    image: image
    registryServer: registry.outputs.server
    vaultName: secrets.outputs.name
    identityName: identities.outputs.apiName
    subnetId: network.outputs.appSubnetId
    workspaceId: monitoring.outputs.workspaceId
    databaseHost: database.outputs.host
    custody: custody
    blobHost: blobHost
    apiOrigin: apiOrigin
    uploadOrigins: uploadOrigins
    issuer: issuer
    audience: audience
    directoryClaim: directoryClaim
    partnerClaim: partnerClaim
    logVerifier: logVerifier
    receiptVerifier: receiptVerifier
    minReplicas: minReplicas
    maxReplicas: maxReplicas
  }
}

module clock 'modules/clock.bicep' = if (!empty(image)) {
  name: 'clock'
  params: {
    prefix: prefix
    suffix: suffix
    location: location
    vaultName: secrets.outputs.name
    identityName: identities.outputs.clockName
    subnetId: network.outputs.functionSubnetId
    hostStorageName: host.outputs.name
    packageContainer: host.outputs.packageContainer
    eraseQueue: host.outputs.eraseQueue
    readBackQueue: host.outputs.readBackQueue
    insightsName: monitoring.outputs.insightsName
    databaseHost: database.outputs.host
    custody: custody
    apiOrigin: apiOrigin
    smtpHost: smtpHost
    smtpSender: smtpSender
    smtpUser: smtpUser
    addresses: administratorAddresses
  }
}

output accountUrl string = bundles.outputs.url
output keyUrl string = key.outputs.url
output secretsUrl string = secrets.outputs.url
output secretsVault string = secrets.outputs.name
output databaseHost string = database.outputs.host
output registryName string = registry.outputs.name
output apiIdentity string = identities.outputs.apiName
output clockIdentity string = identities.outputs.clockName
output apiAddress string = !empty(image) ? api!.outputs.address : ''
output functionApp string = !empty(image) ? clock!.outputs.name : ''

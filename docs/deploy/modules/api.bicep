// The API and the Blob endpoint: one container app, two ports. TLS ends in the service itself (P1), so ingress is TCP: HTTP
// ingress would end it before us, go on in plain text, and cut every request after 240 seconds. External TCP ports cannot be 443.

param prefix string

param location string

param image string

param registryServer string

param vaultName string

param identityName string

param subnetId string

param workspaceId string

param databaseHost string

@description('Settings that the clock has as well.')
param custody object

param blobHost string

param apiOrigin string

param uploadOrigins string

param issuer string

param audience string

param directoryClaim string

param partnerClaim string

@description('Public keys of the log and of receipts.')
param logVerifier string

param receiptVerifier string

param minReplicas int

param maxReplicas int

var apiPort = 8443
var blobPort = 8444
var stateFolder = '/var/lib/casevault'
var certificateFile = '/run/casevault/tls.pem'
// The certificate's own secret: key and chain in one PEM file.
var certificateSecret = 'casevault-tls'

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: identityName
}

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' existing = {
  name: vaultName
}

// Whether the log is the newest is asked of the witness before anything is opened: by credentials that only read there.
var witnessSecrets = {
  AWS_ACCESS_KEY_ID: 'casevault-witness-reader-access-key-id'
  AWS_SECRET_ACCESS_KEY: 'casevault-witness-reader-secret-access-key'
}

module readers 'secret-readers.bicep' = {
  name: 'api-secrets'
  params: {
    vaultName: vaultName
    principalId: identity.properties.principalId
    secretNames: [
      'casevault-link-signing-key'
      'casevault-binding-key'
      certificateSecret
      witnessSecrets.AWS_ACCESS_KEY_ID
      witnessSecrets.AWS_SECRET_ACCESS_KEY
    ]
  }
}

var settings = union(custody, {
  AZURE_CLIENT_ID: identity.properties.clientId
  AZURE_TOKEN_CREDENTIALS: 'ManagedIdentityCredential'
  CASEVAULT_STATE: stateFolder
  CASEVAULT_LISTEN: '0.0.0.0:${apiPort}'
  CASEVAULT_ORIGIN: apiOrigin
  CASEVAULT_UPLOAD_ORIGINS: uploadOrigins
  CASEVAULT_BLOB_LISTEN: '0.0.0.0:${blobPort}'
  CASEVAULT_BLOB_ORIGIN: 'https://${blobHost}:${blobPort}'
  CASEVAULT_TLS_CERTIFICATE: certificateFile
  CASEVAULT_TLS_KEY: certificateFile
  CASEVAULT_ISSUER: issuer
  CASEVAULT_AUDIENCE: audience
  CASEVAULT_DIRECTORY_CLAIM: directoryClaim
  CASEVAULT_PARTNER_CLAIM: partnerClaim
  CASEVAULT_DATABASE_URL: 'postgresql://${identityName}@${databaseHost}:5432/casevault?sslmode=verify-full&sslrootcert=/etc/ssl/certs/ca-certificates.crt'
  // It signs nothing: the function app is the clock, and holds the keys.
  CASEVAULT_CLOCK: 'functions'
  CASEVAULT_LOG_VERIFIER: logVerifier
  CASEVAULT_RECEIPT_VERIFIER: receiptVerifier
  // How many of what at once: docs/deployment.md has the sums.
  CASEVAULT_THREADS: '80'
  CASEVAULT_UPLOADS: '38'
  CASEVAULT_READS: '19'
  CASEVAULT_CALLER_SHARE: '50'
  CASEVAULT_TENANT_SHARE: '75'
  CASEVAULT_BODY_SECONDS: '15'
  CASEVAULT_CONNECTIONS: '320'
  CASEVAULT_PART_SECONDS: '60'
  CASEVAULT_DRAIN_SECONDS: '20'
  CASEVAULT_STOP_SECONDS: '30'
})

resource managedEnvironment 'Microsoft.App/managedEnvironments@2025-07-01' = {
  name: '${prefix}-environment'
  location: location
  properties: {
    vnetConfiguration: { infrastructureSubnetId: subnetId, internal: false }
    zoneRedundant: true
    workloadProfiles: [{ name: 'Consumption', workloadProfileType: 'Consumption' }]
    // Not `log-analytics`: that takes the workspace's key.
    appLogsConfiguration: { destination: 'azure-monitor' }
  }
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'logs'
  scope: managedEnvironment
  properties: {
    workspaceId: workspaceId
    logs: [{ categoryGroup: 'allLogs', enabled: true }]
  }
}

resource app 'Microsoft.App/containerApps@2025-07-01' = {
  name: '${prefix}-api'
  location: location
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identity.id}': {} }
  }
  properties: {
    environmentId: managedEnvironment.id
    workloadProfileName: 'Consumption'
    configuration: {
      // A new revision takes over when it is ready, and only then does the old one stop.
      activeRevisionsMode: 'Single'
      ingress: {
        external: true
        transport: 'tcp'
        targetPort: apiPort
        exposedPort: apiPort
        additionalPortMappings: [{ external: true, targetPort: blobPort, exposedPort: blobPort }]
      }
      registries: [{ server: registryServer, identity: identity.id }]
      secrets: [
        {
          name: certificateSecret
          keyVaultUrl: '${vault.properties.vaultUri}secrets/${certificateSecret}'
          identity: identity.id
        }
        {
          name: witnessSecrets.AWS_ACCESS_KEY_ID
          keyVaultUrl: '${vault.properties.vaultUri}secrets/${witnessSecrets.AWS_ACCESS_KEY_ID}'
          identity: identity.id
        }
        {
          name: witnessSecrets.AWS_SECRET_ACCESS_KEY
          keyVaultUrl: '${vault.properties.vaultUri}secrets/${witnessSecrets.AWS_SECRET_ACCESS_KEY}'
          identity: identity.id
        }
      ]
    }
    template: {
      terminationGracePeriodSeconds: 120
      containers: [
        {
          name: 'casevault'
          image: image
          resources: { cpu: 2, memory: '4Gi' }
          env: concat(
            map(items(settings), setting => { name: setting.key, value: setting.value }),
            map(items(witnessSecrets), secret => { name: secret.key, secretRef: secret.value })
          )
          volumeMounts: [
            { volumeName: 'state', mountPath: stateFolder }
            { volumeName: 'tls', mountPath: '/run/casevault' }
          ]
          probes: [
            {
              type: 'Startup'
              httpGet: { path: '/healthz', port: apiPort, scheme: 'HTTPS' }
              periodSeconds: 5
              failureThreshold: 24
            }
            {
              type: 'Liveness'
              httpGet: { path: '/healthz', port: apiPort, scheme: 'HTTPS' }
              periodSeconds: 15
              timeoutSeconds: 5
              failureThreshold: 4
            }
            {
              type: 'Readiness'
              httpGet: { path: '/readyz', port: apiPort, scheme: 'HTTPS' }
              periodSeconds: 20
              timeoutSeconds: 15
              failureThreshold: 3
            }
          ]
        }
      ]
      volumes: [
        { name: 'state', storageType: 'EmptyDir' }
        { name: 'tls', storageType: 'Secret', secrets: [{ secretRef: certificateSecret, path: 'tls.pem' }] }
      ]
      scale: {
        minReplicas: minReplicas
        maxReplicas: maxReplicas
        rules: [{ name: 'connections', tcp: { metadata: { concurrentConnections: '32' } } }]
      }
    }
  }
  dependsOn: [readers]
}

output address string = managedEnvironment.properties.staticIp

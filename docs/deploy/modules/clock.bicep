// The clock: sweep, erase queue, sequencer, witness and read-back on Azure Functions, Flex Consumption.

param prefix string

param suffix string

param location string

param vaultName string

param identityName string

param subnetId string

param hostStorageName string

param packageContainer string

param eraseQueue string
param readBackQueue string

param insightsName string

param databaseHost string

@description('Settings that the API has as well.')
param custody object

@description('The public address of the API, for links in notices.')
param apiOrigin string

@description('The server that takes mail with notices, the sender, and the user to sign in as. Empty: no mail; no sign-in.')
param smtpHost string
param smtpSender string
param smtpUser string

@description('Addresses that may publish. Empty: nobody from outside.')
param addresses array

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: identityName
}

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' existing = {
  name: vaultName
}

resource storage 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: hostStorageName
}

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insightsName
}

module readers 'secret-readers.bicep' = {
  name: 'clock-secrets'
  params: {
    vaultName: vaultName
    principalId: identity.properties.principalId
    secretNames: concat([
      'casevault-log-signing-key'
      'casevault-receipt-signing-key'
      'casevault-binding-key'
      'casevault-witness-access-key-id'
      'casevault-witness-secret-access-key'
    ], empty(smtpUser) ? [] : ['casevault-smtp-password'])
  }
}

var mail = empty(smtpHost) ? {} : {
  CASEVAULT_SMTP_HOST: smtpHost
  CASEVAULT_SMTP_FROM: smtpSender
}
var signedIn = empty(smtpUser) ? {} : {
  CASEVAULT_SMTP_USER: smtpUser
  CASEVAULT_SMTP_PASSWORD: '@Microsoft.KeyVault(SecretUri=${vault.properties.vaultUri}secrets/casevault-smtp-password)'
}

var settings = union(custody, mail, signedIn, {
  AZURE_CLIENT_ID: identity.properties.clientId
  AZURE_TOKEN_CREDENTIALS: 'ManagedIdentityCredential'
  CASEVAULT_STATE: '/tmp/casevault'
  CASEVAULT_DATABASE_URL: 'postgresql://${identityName}@${databaseHost}:5432/casevault?sslmode=verify-full&sslrootcert=/etc/ssl/certs/ca-certificates.crt'
  CASEVAULT_ORIGIN: apiOrigin
  CASEVAULT_SWEEP_SCHEDULE: '0 * * * * *'
  CASEVAULT_SEQUENCE_SCHEDULE: '*/10 * * * * *'
  CASEVAULT_WITNESS_SCHEDULE: '5/15 * * * * *'
  CASEVAULT_COSIGN_SCHEDULE: '25 * * * * *'
  CASEVAULT_READ_BACK_SCHEDULE: '*/30 * * * * *'
  CASEVAULT_SCRUB_SCHEDULE: '0 * * * * *'
  CASEVAULT_INDEX_SCHEDULE: '15 * * * * *'
  CASEVAULT_NOTICES_SCHEDULE: '10/30 * * * * *'
  CASEVAULT_TIDY_SCHEDULE: '0 30 2 * * *'
  CASEVAULT_ERASE_QUEUE: eraseQueue
  CASEVAULT_READ_BACK_QUEUE: readBackQueue
  AWS_ACCESS_KEY_ID: '@Microsoft.KeyVault(SecretUri=${vault.properties.vaultUri}secrets/casevault-witness-access-key-id)'
  AWS_SECRET_ACCESS_KEY: '@Microsoft.KeyVault(SecretUri=${vault.properties.vaultUri}secrets/casevault-witness-secret-access-key)'
  AzureWebJobsStorage__accountName: storage.name
  AzureWebJobsStorage__credential: 'managedidentity'
  AzureWebJobsStorage__clientId: identity.properties.clientId
  APPLICATIONINSIGHTS_CONNECTION_STRING: insights.properties.ConnectionString
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identity.properties.clientId};Authorization=AAD'
})

resource plan 'Microsoft.Web/serverfarms@2024-11-01' = {
  name: '${prefix}-clock'
  location: location
  kind: 'functionapp'
  sku: { tier: 'FlexConsumption', name: 'FC1' }
  properties: { reserved: true }
}

resource app 'Microsoft.Web/sites@2024-11-01' = {
  name: '${prefix}-clock-${suffix}'
  location: location
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identity.id}': {} }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    keyVaultReferenceIdentity: identity.id
    virtualNetworkSubnetId: subnetId
    publicNetworkAccess: empty(addresses) ? 'Disabled' : 'Enabled'
    functionAppConfig: {
      runtime: { name: 'python', version: '3.11' }
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${storage.properties.primaryEndpoints.blob}${packageContainer}'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identity.id
          }
        }
      }
      scaleAndConcurrency: { maximumInstanceCount: 40, instanceMemoryMB: 2048 }
    }
    siteConfig: {
      minTlsVersion: '1.2'
      ftpsState: 'Disabled'
      ipSecurityRestrictionsDefaultAction: 'Deny'
      scmIpSecurityRestrictionsDefaultAction: 'Deny'
      scmIpSecurityRestrictions: [
        for (address, i) in addresses: {
          name: 'administrators-${i}'
          ipAddress: '${address}/32'
          action: 'Allow'
          priority: 100 + i
        }
      ]
      appSettings: map(items(settings), setting => { name: setting.key, value: setting.value })
    }
  }
  dependsOn: [readers]
}

// Publishing takes an identity, never a password.
resource basicAuthentication 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01' = [
  for kind in ['ftp', 'scm']: {
    parent: app
    name: kind
    properties: { allow: false }
  }
]

output name string = app.name

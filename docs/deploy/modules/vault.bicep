// The key-encryption key and the signing secrets. The key is made here and never leaves; the secrets are made by `casevault
// init`, so that no template, pipeline or deployment record ever held them.

@description('Name of the vault.')
param name string

param location string

param sku string

@description('Addresses that may come from outside. Empty: private endpoints alone.')
param addresses array

@description('Principal ids of the API and the clock.')
param services array

param administratorsId string

@description('Workspace that learns of every use of the key: best owned by somebody else (threat model, N2).')
param workspaceId string

param endpointSubnetId string

param vaultZoneId string

var roles = loadJsonContent('../roles.json')

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' = {
  name: name
  location: location
  properties: {
    tenantId: subscription().tenantId
    sku: { family: 'A', name: sku }
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 90
    enablePurgeProtection: true
    enabledForDeployment: false
    enabledForDiskEncryption: false
    enabledForTemplateDeployment: false
    publicNetworkAccess: empty(addresses) ? 'Disabled' : 'Enabled'
    networkAcls: {
      bypass: 'None'
      defaultAction: 'Deny'
      ipRules: [for address in addresses: { value: address }]
    }
  }
}

// Without a rotation policy: a new version wraps nothing that is there. `casevault keys rotate` makes one and wraps anew.
resource key 'Microsoft.KeyVault/vaults/keys@2024-11-01' = {
  parent: vault
  name: 'casevault-key-encryption-key'
  properties: {
    kty: sku == 'premium' ? 'RSA-HSM' : 'RSA'
    keySize: 3072
    keyOps: ['wrapKey', 'unwrapKey']
    attributes: { enabled: true, exportable: false }
  }
}

resource forServices 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for principal in services: {
    name: guid(key.id, principal, 'Key Vault Crypto Service Encryption User')
    scope: key
    properties: {
      principalId: principal
      principalType: 'ServicePrincipal'
      roleDefinitionId: subscriptionResourceId(
        'Microsoft.Authorization/roleDefinitions',
        roles['Key Vault Crypto Service Encryption User']
      )
    }
  }
]

resource rotators 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(key.id, administratorsId, 'Key Vault Crypto Officer')
  scope: key
  properties: {
    principalId: administratorsId
    principalType: 'Group'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Key Vault Crypto Officer'])
  }
}

var officers = ['Key Vault Secrets Officer', 'Key Vault Certificates Officer']

resource forAdministrators 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for role in officers: {
    name: guid(vault.id, administratorsId, role)
    scope: vault
    properties: {
      principalId: administratorsId
      principalType: 'Group'
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles[role])
    }
  }
]

resource lock 'Microsoft.Authorization/locks@2020-05-01' = {
  name: 'keep'
  scope: vault
  properties: {
    level: 'CanNotDelete'
    notes: 'casevault: the key-encryption key'
  }
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'audit'
  scope: vault
  properties: {
    workspaceId: workspaceId
    logs: [{ categoryGroup: 'audit', enabled: true }]
  }
}

module endpoint 'private-endpoint.bicep' = {
  name: 'vault-endpoint'
  params: {
    name: '${name}-vault'
    location: location
    subnetId: endpointSubnetId
    serviceId: vault.id
    groupId: 'vault'
    zoneId: vaultZoneId
  }
}

output name string = vault.name
output url string = vault.properties.vaultUri
output keyUrl string = key.properties.keyUri

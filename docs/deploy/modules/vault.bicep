// One vault: the key-encryption key has one, what signs and what opens doors has another (main.bicep). Whoever closes the first
// to stop all reading does not stop the log. Secrets are made by `casevault init` and by administrators, so that no template,
// pipeline or deployment record ever held them.

@description('Name of the vault.')
param name string

param location string

param sku string

@description('Addresses that may come from outside. Empty: private endpoints alone.')
param addresses array

param administratorsId string

@description('Roles that the administrators have in the whole vault.')
param officers array

@description('Workspace that learns of every use: best owned by somebody else (threat model, N2).')
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
    notes: 'casevault: keys'
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
  name: '${name}-endpoint'
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

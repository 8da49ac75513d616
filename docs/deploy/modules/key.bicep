// The key-encryption key: made in its vault, which it never leaves.

param vaultName string

@description('premium: in a hardware module.')
param sku string

@description('Principal ids of the API and the clock.')
param services array

param administratorsId string

var roles = loadJsonContent('../roles.json')

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' existing = {
  name: vaultName
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

output url string = key.properties.keyUri

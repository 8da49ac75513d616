// The Functions host's own account: its leases, the deployed package, and the queues of erasures and read-backs, whose messages hold bundle
// ids and nothing else. Apart from the bundles: the host needs roles over this whole account.

@description('Name of the account.')
param name string

param location string

@description('Addresses that may come from outside. Empty: private endpoints alone.')
param addresses array

param clockPrincipalId string

param endpointSubnetId string

param blobZoneId string

param queueZoneId string

param tableZoneId string

var roles = loadJsonContent('../roles.json')
// What the host asks for where AzureWebJobsStorage is an identity: leases and packages, queues, its diagnostic events.
var hostRoles = ['Storage Blob Data Owner', 'Storage Queue Data Contributor', 'Storage Table Data Contributor']
var queueName = 'casevault-erase'
var readBackQueueName = 'casevault-read-back'

resource account 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: name
  location: location
  kind: 'StorageV2'
  sku: { name: 'Standard_ZRS' }
  properties: {
    allowBlobPublicAccess: false
    allowSharedKeyAccess: false
    allowCrossTenantReplication: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: empty(addresses) ? 'Disabled' : 'Enabled'
    networkAcls: {
      bypass: 'None'
      defaultAction: 'Deny'
      ipRules: [for address in addresses: { value: address, action: 'Allow' }]
    }
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2025-06-01' = {
  parent: account
  name: 'default'
}

resource packages 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = {
  parent: blobs
  name: 'packages'
  properties: { publicAccess: 'None' }
}

resource queues 'Microsoft.Storage/storageAccounts/queueServices@2025-06-01' = {
  parent: account
  name: 'default'
}

resource erase 'Microsoft.Storage/storageAccounts/queueServices/queues@2025-06-01' = {
  parent: queues
  name: queueName
}

resource poison 'Microsoft.Storage/storageAccounts/queueServices/queues@2025-06-01' = {
  parent: queues
  name: '${queueName}-poison'
}

resource readBack 'Microsoft.Storage/storageAccounts/queueServices/queues@2025-06-01' = {
  parent: queues
  name: readBackQueueName
}

resource readBackPoison 'Microsoft.Storage/storageAccounts/queueServices/queues@2025-06-01' = {
  parent: queues
  name: '${readBackQueueName}-poison'
}

resource assignments 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for role in hostRoles: {
    name: guid(account.id, clockPrincipalId, role)
    scope: account
    properties: {
      principalId: clockPrincipalId
      principalType: 'ServicePrincipal'
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles[role])
    }
  }
]

var doors = [
  { group: 'blob', zone: blobZoneId }
  { group: 'queue', zone: queueZoneId }
  { group: 'table', zone: tableZoneId }
]

module endpoints 'private-endpoint.bicep' = [
  for door in doors: {
    name: 'host-storage-${door.group}'
    params: {
      name: '${name}-${door.group}'
      location: location
      subnetId: endpointSubnetId
      serviceId: account.id
      groupId: door.group
      zoneId: door.zone
    }
  }
]

output name string = account.name
output packageContainer string = packages.name
output eraseQueue string = erase.name
output readBackQueue string = readBack.name

// Bundles, wrapped data keys and the log's tiles. Nothing that would keep a copy of something erased may be on (P7): no soft
// delete, versions, change feed, snapshots by policy, immutability, replication, backup. docs/azure.md says why for each.

@description('Name of the account.')
param name string

param location string

param sku string

@description('Addresses that may come from outside. Empty: private endpoints alone.')
param addresses array

@description('Principal id of the API.')
param apiId string

@description('Principal id of the clock.')
param clockId string

param administratorsId string

@description('Workspace that learns who read, wrote and deleted.')
param workspaceId string

param endpointSubnetId string

param blobZoneId string

resource account 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: name
  location: location
  kind: 'StorageV2'
  sku: { name: sku }
  properties: {
    accessTier: 'Hot'
    allowBlobPublicAccess: false
    allowSharedKeyAccess: false
    allowCrossTenantReplication: false
    defaultToOAuthAuthentication: true
    isHnsEnabled: false
    isSftpEnabled: false
    isLocalUserEnabled: false
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
  properties: {
    deleteRetentionPolicy: { enabled: false }
    containerDeleteRetentionPolicy: { enabled: false }
    isVersioningEnabled: false
    changeFeed: { enabled: false }
    restorePolicy: { enabled: false }
  }
}

var containerNames = ['casevault-bundles', 'casevault-data-keys', 'casevault-log']
var logContainerName = containerNames[2]

module containers 'container.bicep' = [
  for containerName in containerNames: {
    name: containerName
    params: {
      accountName: account.name
      name: containerName
      // The clock alone writes the log; whoever answers callers reads it.
      writers: containerName == logContainerName ? [clockId] : [apiId, clockId]
      readers: containerName == logContainerName ? [apiId] : []
      administratorsId: administratorsId
    }
    dependsOn: [blobs]
  }
]

// Against the account's deletion by mistake. Blobs and containers' contents are data: a lock does not keep them.
resource lock 'Microsoft.Authorization/locks@2020-05-01' = {
  name: 'keep'
  scope: account
  properties: {
    level: 'CanNotDelete'
    notes: 'casevault: bundles and data keys'
  }
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'access'
  scope: blobs
  properties: {
    workspaceId: workspaceId
    logs: [
      { category: 'StorageRead', enabled: true }
      { category: 'StorageWrite', enabled: true }
      { category: 'StorageDelete', enabled: true }
    ]
  }
}

module endpoint 'private-endpoint.bicep' = {
  name: 'bundle-storage-endpoint'
  params: {
    name: '${name}-blob'
    location: location
    subnetId: endpointSubnetId
    serviceId: account.id
    groupId: 'blob'
    zoneId: blobZoneId
  }
}

output url string = account.properties.primaryEndpoints.blob
output bundleContainer string = containerNames[0]
output dataKeyContainer string = containerNames[1]
output logContainer string = logContainerName

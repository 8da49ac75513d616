// One container, and who may do what in it. Roles stand at the container, never at the account.

param accountName string

@description('Name of the container.')
param name string

@description('Principal ids that read, write and delete.')
param writers array

@description('Principal ids that read.')
param readers array

param administratorsId string

var roles = loadJsonContent('../roles.json')
var reader = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Storage Blob Data Reader'])
var contributor = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Storage Blob Data Contributor'])

resource account 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: accountName
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2025-06-01' existing = {
  parent: account
  name: 'default'
}

resource container 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = {
  parent: blobs
  name: name
  properties: { publicAccess: 'None' }
}

resource forWriters 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for principal in writers: {
    name: guid(container.id, principal, 'Storage Blob Data Contributor')
    scope: container
    properties: {
      principalId: principal
      principalType: 'ServicePrincipal'
      roleDefinitionId: contributor
    }
  }
]

resource forReaders 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for principal in readers: {
    name: guid(container.id, principal, 'Storage Blob Data Reader')
    scope: container
    properties: {
      principalId: principal
      principalType: 'ServicePrincipal'
      roleDefinitionId: reader
    }
  }
]

resource forAdministrators 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(container.id, administratorsId, 'Storage Blob Data Contributor')
  scope: container
  properties: {
    principalId: administratorsId
    principalType: 'Group'
    roleDefinitionId: contributor
  }
}

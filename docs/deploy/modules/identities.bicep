// One identity for each door: what it may do stands beside what it may do it to.

@description('Begins every name.')
param prefix string

param location string

resource api 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: '${prefix}-api'
  location: location
}

resource clock 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: '${prefix}-clock'
  location: location
}

output apiName string = api.name
output apiPrincipalId string = api.properties.principalId
output clockName string = clock.name
output clockPrincipalId string = clock.properties.principalId

// Records and audit log. Identities instead of passwords; the database itself is made by database.sql, so that its owner is the
// service's role. Backups hold no data key: what was erased stays unreadable after a restore (P7).

@description('Name of the server.')
param name string

param location string

param sku string

@description('A standby in another zone.')
param standby bool

@description('Days for which the server can be restored to any moment.')
param backupDays int

@description('Addresses that may come from outside. Empty: private endpoints alone.')
param addresses array

param administratorsId string

param administratorsName string

param endpointSubnetId string

param postgresZoneId string

resource server 'Microsoft.DBforPostgreSQL/flexibleServers@2024-08-01' = {
  name: name
  location: location
  sku: { name: sku, tier: 'GeneralPurpose' }
  properties: {
    version: '15'
    authConfig: {
      activeDirectoryAuth: 'Enabled'
      passwordAuth: 'Disabled'
      tenantId: subscription().tenantId
    }
    storage: { storageSizeGB: 128, autoGrow: 'Enabled' }
    backup: { backupRetentionDays: backupDays, geoRedundantBackup: 'Disabled' }
    highAvailability: { mode: standby ? 'ZoneRedundant' : 'Disabled' }
    network: { publicNetworkAccess: empty(addresses) ? 'Disabled' : 'Enabled' }
  }
}

resource administrators 'Microsoft.DBforPostgreSQL/flexibleServers/administrators@2024-08-01' = {
  parent: server
  name: administratorsId
  properties: {
    principalName: administratorsName
    principalType: 'Group'
    tenantId: subscription().tenantId
  }
}

// One after another: the server takes one change at a time.
@batchSize(1)
resource rules 'Microsoft.DBforPostgreSQL/flexibleServers/firewallRules@2024-08-01' = [
  for (address, i) in addresses: {
    parent: server
    name: 'administrators-${i}'
    properties: { startIpAddress: address, endIpAddress: address }
    dependsOn: [administrators]
  }
]

resource lock 'Microsoft.Authorization/locks@2020-05-01' = {
  name: 'keep'
  scope: server
  properties: {
    level: 'CanNotDelete'
    notes: 'casevault: records and audit log'
  }
}

module endpoint 'private-endpoint.bicep' = {
  name: 'database-endpoint'
  params: {
    name: '${name}-postgres'
    location: location
    subnetId: endpointSubnetId
    serviceId: server.id
    groupId: 'postgresqlServer'
    zoneId: postgresZoneId
  }
  dependsOn: [administrators, rules]
}

output host string = server.properties.fullyQualifiedDomainName
